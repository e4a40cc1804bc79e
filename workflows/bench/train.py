"""`shammie bench train`: the bundled trainer's whole loop beside a hand-written Flax and Optax loop.

The trainer loads its data, counts metrics and writes its logs; the loop by hand has one batch that lies on the device
for good. Network, optimizer and shapes are the same. Time: both in one process, by turns, some steps each. Memory: each
in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workflows.bench.table import Table, Target

TIME_TARGET, MEMORY_TARGET = 1.03, 1.05
MEMORY_STEPS = 3
_CHILD = """
import json, sys
sys.path[:0] = {path!r}
from shammie import logs
logs.set_for_command(debug=False)
import workflows.bench.train as bench
print(json.dumps(bench.{function}({sizes!r}, {folder!r})))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add(
        "--width", type=int, default=256, help="of the model; its heads are 64 wide, its MLP 4 x as wide (default: 256)"
    )
    add("--layers", type=int, default=4, help="of the model (default: 4)")
    add("--vocab_size", type=int, default=16384, help="ids (default: 16384)")
    add("--length", type=int, default=128, help="tokens of a window (default: 128)")
    add("--batch_size", type=int, default=8, help="windows of a step (default: 8)")
    add("--chunk_steps", type=int, default=12, help="steps of a turn, more than are loaded ahead (default: 12)")
    add("--turns", type=int, default=8, help="turns of each that are measured (default: 8)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    names = ("width", "layers", "vocab_size", "length", "batch_size")
    sizes = {name: getattr(args, name) for name in names}
    with tempfile.TemporaryDirectory(prefix="shammie-bench-") as folder:
        _write_data(sizes, folder)
        pairs = time_by_turns(sizes, folder, steps=args.chunk_steps, turns=args.turns)
        peaks = {}
        for function in ("peak_of_trainer", "peak_of_hand"):
            code = _CHILD.format(path=sys.path, function=function, sizes=sizes, folder=folder)
            child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True)
            peaks |= json.loads(child.stdout.splitlines()[-1])
    return table(sizes, pairs, peaks, args.chunk_steps)


def table(
    sizes: dict[str, int], pairs: Sequence[tuple[float, float]], peaks: dict[str, int], chunk_steps: int
) -> Table:
    """The result.

    Args:
        sizes: of model and batch.
        pairs: seconds of the trainer's turn and of the other's after it.
        peaks: bytes: "trainer", "hand", and "saving", the trainer's with its checkpoint.
        chunk_steps: steps of a turn.
    """
    ratio = statistics.median(trainer / hand for trainer, hand in pairs)
    times = [statistics.median(side) / chunk_steps * 1e3 for side in zip(*pairs, strict=True)]
    memory, saving = peaks["trainer"] / peaks["hand"], peaks["saving"] / peaks["hand"]
    spread = sorted(trainer / hand for trainer, hand in pairs)
    return Table(
        title="the bundled trainer beside a Flax and Optax loop by hand, "
        + ", ".join(f"{n} {v}" for n, v in sizes.items()),
        columns=["loop", "ms/step", "peak MB", "time ratio", "memory ratio"],
        rows=[
            ["by hand, one resident batch", times[1], peaks["hand"] / 1e6, 1.0, 1.0],
            ["trainer: data, metrics, logs", times[0], peaks["trainer"] / 1e6, round(ratio, 4), round(memory, 4)],
            ["trainer, with a checkpoint", None, peaks["saving"] / 1e6, None, round(saving, 4)],
        ],
        notes=[
            f"medians of {len(pairs)} turns of {chunk_steps} steps each; ratios of turns one after the other lie from"
            f" {spread[0]:.3f} to {spread[-1]:.3f}",
            "a checkpoint copies the state before it is written; the loop by hand writes none",
        ],
        targets=[
            Target("trainer / by hand, time of a step", round(ratio, 4), TIME_TARGET, "less"),
            Target("trainer / by hand, peak memory without checkpoints", round(memory, 4), MEMORY_TARGET, "less"),
        ],
    )


def _write_data(sizes: dict[str, int], folder: str) -> None:
    import numpy as np

    from seqio_tasks.token_files import write_tokens

    count = 64 * sizes["batch_size"] * sizes["length"]
    ids = np.random.default_rng(0).integers(2, sizes["vocab_size"], count)
    write_tokens(folder, "train", [ids], vocab_size=sizes["vocab_size"], text_bytes=count, made_with="random")


def _config(sizes: dict[str, int], folder: str, **settings: Any) -> Any:
    from models.lm import LMConfig
    from models.training import OptimizerConfig
    from workflows.train import TrainConfig

    width = sizes["width"]
    model = LMConfig(
        vocab_size=sizes["vocab_size"],
        width=width,
        layers=sizes["layers"],
        heads=max(1, width // 64),
        head_width=64,
        mlp_width=4 * width,
    )
    shape = {"length": sizes["length"], "batch_size": sizes["batch_size"]}
    off = {"eval_every": 0, "checkpoint_every": 0, "mesh_data": 1}
    return TrainConfig(model=model, optimizer=OptimizerConfig(), data=folder, **{**shape, **off, **settings})


def by_hand(config: Any) -> Callable[[int], None]:
    """The other loop, compiled and warm: it runs so many steps and waits for the last."""
    import jax
    import jax.numpy as jnp
    import optax

    from models.lm import DecoderLM
    from models.training import optimizer_of
    from workflows.train.data import load, windows_of

    network, optimizer = DecoderLM(config.model), optimizer_of(config.optimizer, config.steps)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    batch = jax.device_put(load(config, windows_of(config, "train")[0], 0, 1))

    def loss(params: Any, targets: jax.Array) -> jax.Array:
        logits: Any = network.apply({"params": params}, jnp.pad(targets[:, :-1], ((0, 0), (1, 0))))
        log_z = jax.nn.logsumexp(logits, axis=-1)
        nats = log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return jnp.mean(nats + config.z_loss * log_z**2)

    def step(params: Any, state: Any, targets: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params, targets)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held = [params, optimizer.init(params)]
    del params

    def steps(count: int) -> None:
        for _ in range(count):
            *held[:], _ = compiled(*held, batch)
        jax.block_until_ready(held)

    steps(1)
    return steps


def time_by_turns(
    sizes: dict[str, int],
    folder: str,
    *,
    steps: int,
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[tuple[float, float]]:
    """Seconds of the trainer's turn and of the other's after it, in one process.

    The trainer's first turn, which compiles, and its last, which saves, are left out.
    """
    from workflows.train import train

    config = _config(sizes, folder, steps=steps * (turns + 2), log_every=steps)
    hand = by_hand(config)
    pairs: list[tuple[float, float]] = []
    mark = clock()

    def turn(_: dict[str, Any]) -> None:
        nonlocal mark
        ended = clock()
        hand(steps)
        pairs.append((ended - mark, clock() - ended))
        mark = clock()

    train(config, f"{folder}/turns", turn)
    return pairs[1:-1]


def peak_of_trainer(sizes: dict[str, int], folder: str) -> dict[str, int]:
    """The most memory that this process has held when training, and after saving too; bytes."""
    from workflows.bench.pipeline import peak_bytes
    from workflows.train import train

    found: list[int] = []
    config = _config(sizes, folder, steps=MEMORY_STEPS + 1, log_every=1)
    train(config, f"{folder}/{Path(folder).name}-peak", lambda row: found.append(peak_bytes()))
    return {"trainer": found[-2], "saving": peak_bytes()}


def peak_of_hand(sizes: dict[str, int], folder: str) -> dict[str, int]:
    """The most memory that this process has held in the loop by hand; bytes."""
    from workflows.bench.pipeline import peak_bytes

    by_hand(_config(sizes, folder, steps=MEMORY_STEPS + 1))(MEMORY_STEPS)
    return {"hand": peak_bytes()}
