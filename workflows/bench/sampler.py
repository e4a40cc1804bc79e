"""`shammie bench sampler`: our sampler beside `generate` of Hugging Face transformers (torch on the CPU), one model.

The peer is the same network with the same weights as a transformers model (`_torch_twin.py`), in an environment of its
own, which the benchmark makes in the cache folder: some gigabytes. Before anything is timed, both must continue all
prompts greedily alike. The work is a group of samples, some of each prompt; the peer takes it in whole batches. Both
are warm, take turns, and count the tokens up to and with each sample's end.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shammie import files
from shammie.errors import UserError
from workflows.bench.table import Table, Target

SPEED_TARGET, USE_TARGET = 2.0, 0.8
PEER_PACKAGES = ("torch==2.15.0", "transformers==5.23.0")
SIZES: dict[str, dict[str, Any]] = {
    "base": {"vocab_size": 512, "width": 96, "layers": 3, "heads": 3, "head_width": 32, "mlp_width": 384},  # sizes.gin
    "25m": {"vocab_size": 4096, "width": 512, "layers": 6, "heads": 8, "head_width": 64, "mlp_width": 2048},
}
TEMPERATURE, TOP_K, END_ID = 0.7, 40, 1
GREEDY_TOKENS = 16


@dataclass(frozen=True)
class Turn:
    """One side's pass over the group.

    Args:
        seconds: by the clock.
        tokens: new ones, each sample's end included.
        slot_use: the share of row steps that made a token.
    """

    seconds: float
    tokens: int
    slot_use: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="of the model (default: all)")
    add("--problems", type=int, default=16, help="prompts (default: 16)")
    add("--samples", type=int, default=32, help="of each prompt (default: 32)")
    add("--prompt_tokens", type=int, default=60, help="of the longest prompt (default: 60)")
    add("--new_tokens", type=int, default=64, help="the most of a sample (default: 64)")
    add("--batch_size", type=int, default=64, help="of the peer, and our slots (default: 64)")
    add("--turns", type=int, default=3, help="turns that are measured (default: 3)")
    add("--peer_python", help="Python with torch and transformers, in place of an environment that is made")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark; where the peer's environment cannot be made, of ours alone.

    Args:
        args: what `add_arguments` declares.
    """
    problem = ""
    try:
        python = args.peer_python or str(peer_environment(files.cache_directory() / "bench-sampler-peer"))
    except UserError as error:
        python, problem = "", str(error)
    measured: dict[tuple[str, str], tuple[list[Turn], list[Turn]]] = {}
    told: dict[str, Any] = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="shammie-bench-") as folder, contextlib.ExitStack() as stack:
            network, params, prompts = model_and_prompts(size, args)
            peer = None
            if python:
                write_model(f"{folder}/model.npz", network.config, params)
                peer = stack.enter_context(twin(python, f"{folder}/model.npz"))
                told = peer.told
                check_alike(network, params, prompts, peer)
            many = [prompt for prompt in prompts for _ in range(args.samples)]
            for ends, end_id in (("samples end", END_ID), ("none ends early", -1)):
                measured[size, ends] = by_turns(network, params, many, args, end_id, peer)
    return table(measured, args, told, problem)


def peer_environment(folder: Path) -> Path:
    """The Python of an environment that has the peer's packages; made if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    python, mark = folder / "bin" / "python", folder / "made-with.json"
    if files.exists(mark) and files.read_json(mark) == list(PEER_PACKAGES):
        return python
    print(f"making an environment for {' and '.join(PEER_PACKAGES)} (some gigabytes)", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEER_PACKAGES],
        [str(python), "-c", "import torch, transformers"],
    ):
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"the peer's environment cannot be made: {last[:200]}", "give --peer_python")
    files.write_json(mark, list(PEER_PACKAGES))
    return python


class Twin:
    """The peer's process: asked one line at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.told = self._answer()

    def ask(self, prompts: Sequence[Any], **asked: Any) -> dict[str, Any]:
        """Continues prompts; see `sampled` in `_torch_twin.py`."""
        assert self._process.stdin is not None
        rows = [[int(one) for one in prompt] for prompt in prompts]
        self._process.stdin.write(json.dumps({"prompts": rows, "top_k": TOP_K, **asked}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError("the peer's process ended", "its own message is above")
        return json.loads(line)


@contextlib.contextmanager
def twin(python: str, model: str) -> Iterator[Twin]:
    """The peer's process, with all cores."""
    command = [python, str(Path(__file__).with_name("_torch_twin.py")), model]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield Twin(process)
    finally:
        process.kill()
        process.communicate()


def model_and_prompts(size: str, args: argparse.Namespace) -> tuple[Any, Any, list[Any]]:
    """A model whose samples end by chance, and its prompts.

    Weights are random, but one coordinate of the residual stream is the same at every position and adds to the end
    id's logit alone: so much that a draw is the end with the chance at which samples are half as long as they may be.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models.lm import DecoderLM, LMConfig

    network = DecoderLM(LMConfig(**SIZES[size]))
    params: Any = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    rng = np.random.default_rng(0)
    lengths = rng.integers(max(2, args.prompt_tokens * 3 // 4), args.prompt_tokens + 1, args.problems)
    prompts = [np.concatenate([[0], rng.integers(2, network.config.vocab_size, size - 1)]) for size in lengths]
    texts = jnp.asarray(rng.integers(2, network.config.vocab_size, (16, args.prompt_tokens)))
    share_of = end_share(network, texts)
    strong = jax.jit(with_end)
    low, high = 0.0, 100.0
    for _ in range(20):
        middle = (low + high) / 2
        # of a geometric distribution that is cut at the limit the mean is half of the limit then
        low, high = (middle, high) if share_of(strong(params, middle)) < 1.6 / args.new_tokens else (low, middle)
    return network, strong(params, (low + high) / 2), prompts


def with_end(params: Any, strength: float) -> Any:
    """The parameters with a constant first coordinate that adds about `strength` to the end id's logit."""
    import jax

    silent = lambda path, leaf: leaf.at[..., 0].set(0) if path[-2].key == "out" else leaf  # noqa: E731
    changed = dict(jax.tree_util.tree_map_with_path(lambda p, x: silent(p, x) if len(p) > 1 else x, params))
    changed["embedding"] = changed["embedding"].at[:, 0].set(1.0)
    kernel = changed["logits"]["kernel"].at[0].set(0).at[:, END_ID].set(0)
    return {**changed, "logits": {"kernel": kernel.at[0, END_ID].set(strength)}}


def end_share(network: Any, texts: Any) -> Callable[[Any], float]:
    """A function of parameters: the end id's mean share of what is drawn after each token of texts, int [B, L]."""
    import jax
    import jax.numpy as jnp

    from models.lm.decoding import Sampling, restricted

    @jax.jit
    def share(params: Any) -> Any:
        logits = jnp.asarray(network.apply({"params": params}, texts))
        flat = restricted(logits.reshape(-1, logits.shape[-1]), Sampling(TEMPERATURE, TOP_K))
        return jnp.mean(jax.nn.softmax(flat)[:, END_ID])

    return lambda params: float(share(params))


def write_model(path: str, config: Any, params: Any) -> None:
    """Writes sizes and weights for the peer."""
    import jax
    import numpy as np

    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    arrays = {"/".join(key.key for key in keys): np.asarray(leaf) for keys, leaf in leaves}
    arrays["config"] = np.array(json.dumps(asdict(config)))
    np.savez(path, allow_pickle=False, **arrays)


def check_alike(network: Any, params: Any, prompts: Sequence[Any], peer: Twin) -> None:
    """Raises UserError unless both continue all prompts with the same most probable tokens."""
    from models.lm.decoding import Sampling
    from models.lm.sampler import sample

    seeds = range(len(prompts))
    ours = sample(network, params, prompts, seeds, new_tokens=GREEDY_TOKENS, sampling=Sampling(0.0), end_id=-1)
    theirs = peer.ask(prompts, batch=len(prompts), new_tokens=GREEDY_TOKENS, end_id=-1, temperature=0)["rows"]
    differ = [place for place in seeds if ours.tokens[place].tolist() != theirs[place]]
    if differ:
        raise UserError(f"the peer continues prompt {differ[0]} otherwise", "its model is not the same: mend the twin")


def by_turns(
    network: Any, params: Any, prompts: Sequence[Any], args: argparse.Namespace, end_id: int, peer: Twin | None
) -> tuple[list[Turn], list[Turn]]:
    """Our turns and the peer's; one of each comes before them, not measured."""
    from models.lm.decoding import Sampling
    from models.lm.sampler import Slots, sample

    sampling, slots = Sampling(TEMPERATURE, TOP_K), Slots(slots=args.batch_size)
    ours, theirs = [], []
    for turn in range(args.turns + 1):
        seeds = range(turn * len(prompts), (turn + 1) * len(prompts))
        begun = time.perf_counter()
        group = sample(
            network, params, prompts, seeds, new_tokens=args.new_tokens, sampling=sampling, slots=slots, end_id=end_id
        )
        ours.append(Turn(time.perf_counter() - begun, sum(map(len, group.tokens)), group.slot_use))
        if peer is not None:
            asked = {"batch": args.batch_size, "new_tokens": args.new_tokens, "temperature": TEMPERATURE}
            answer = peer.ask(prompts, end_id=end_id, **asked)
            theirs.append(static_turn(answer["seconds"], answer["rows"], args.batch_size, end_id))
    return ours[1:], theirs[1:]


def static_turn(seconds: float, rows: Sequence[Sequence[int]], batch: int, end_id: int) -> Turn:
    """The peer's turn: tokens up to and with each row's end; its batches run until their last row ends."""
    sizes = [row.index(end_id) + 1 if end_id in row else len(row) for row in map(list, rows)]
    steps = sum(max(sizes[start : start + batch]) * batch for start in range(0, len(sizes), batch))
    return Turn(seconds, sum(sizes), sum(sizes) / steps)


def table(
    measured: Mapping[tuple[str, str], tuple[Sequence[Turn], Sequence[Turn]]],
    args: argparse.Namespace,
    told: Mapping[str, Any],
    problem: str,
) -> Table:
    """The result.

    Args:
        measured: by size and by whether samples end: our turns and the peer's, none where there is no peer.
        args: what was asked for.
        told: the peer's versions and threads.
        problem: why there is no peer.
    """
    rows, targets = [], []
    for (size, ends), (ours, theirs) in measured.items():
        speed = [[one.tokens / one.seconds for one in side] for side in (ours, theirs)]
        ratio = round(statistics.median(a / b for a, b in zip(*speed, strict=True)), 3) if theirs else None
        use = [round(statistics.median(one.slot_use for one in side), 3) if side else None for side in (ours, theirs)]
        mean = statistics.median(one.tokens for one in ours) / (args.problems * args.samples)
        medians = [statistics.median(side) if side else None for side in speed]
        rows.append([size, ends, round(mean, 1), *medians, ratio, *use])
        if ends == "samples end":
            if ratio is not None:
                targets.append(Target(f"{size}: tokens/s, ours / transformers", ratio, SPEED_TARGET))
            targets.append(Target(f"{size}: slots in use", use[0] or 0.0, USE_TARGET))
    peer = (
        f"peer: transformers {told['transformers']}, torch {told['torch']}, {told['threads']} threads; the same weights"
        " continue all prompts greedily alike"
        if told
        else f"no peer: {problem}"
    )
    return Table(
        title=f"sampling {args.problems} prompts of up to {args.prompt_tokens} tokens, {args.samples} samples each,"
        f" batch {args.batch_size}, T {TEMPERATURE}, top-k {TOP_K}",
        columns=["model", "group", "mean tokens", "tokens/s", "peer tokens/s", "ratio", "slot use", "peer slot use"],
        rows=rows,
        notes=[
            peer,
            f"medians of {args.turns} turns, ours and the peer's one after the other; ratios are of such pairs",
            f"samples end: random weights with one constant added to the end id's logit, so that samples of at most "
            f"{args.new_tokens} tokens are half as long on average, unequal as a geometric distribution",
            "the peer takes whole batches, which run until their last sample ends, and reads a prompt for each sample;"
            " ours refills rows and reads each prompt once. In none ends early, only the latter differs",
        ],
        targets=targets,
    )
