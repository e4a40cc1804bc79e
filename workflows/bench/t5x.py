"""`shammie bench t5x`: the bundled trainer beside T5X's command, on the same model, data and batches.

Each runs as its own command, by turns: whole processes, as a user starts them. Speed is taken between the first and
the last log line of a run. The time to the first step, from the process's start to the line that tells of it, is taken
from short runs of their own. Evaluation and checkpoints before the end are off in both. Needs T5X.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shammie.errors import UserError
from workflows.bench.table import Table, Target

SPEED_TARGET, START_TARGET = 1.0, 0.5
GIN = "equal_info_tiny.gin"
LINE = re.compile(r"^I(\d{4} \d\d:\d\d:\d\d\.\d+) .*\[(\d+)\] collection=train .*\bloss=", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One process: seconds from its start to its first log line, and steps per second from then on."""

    first_s: float
    steps_per_s: float


@dataclass(frozen=True)
class Pair:
    """A turn: seconds to the first step, and steps per second, of T5X and of the bundled trainer after it."""

    first_s: tuple[float, float]
    steps_per_s: tuple[float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--width", type=int, default=256, help="of the model; heads are 64 wide, the MLP 4 x as wide (default: 256)")
    add("--layers", type=int, default=4, help="of the model (default: 4)")
    add("--vocab_size", type=int, default=16384, help="ids (default: 16384)")
    add("--length", type=int, default=128, help="tokens of a window (default: 128)")
    add("--batch_size", type=int, default=8, help="windows of a step (default: 8)")
    add("--steps", type=int, default=40, help="of a run that is measured for speed (default: 40)")
    add("--log_every", type=int, default=10, help="steps between log lines (default: 10)")
    add("--turns", type=int, default=3, help="turns (default: 3)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Raises:
        UserError: T5X cannot be imported, or a run failed.
    """
    from workflows import t5x_contract

    if lost := t5x_contract.missing():
        raise UserError(f"T5X needs {', '.join(lost)}, which cannot be imported", t5x_contract.INSTALL)
    names = ("width", "layers", "vocab_size", "length", "batch_size", "steps")
    sizes = {name: getattr(args, name) for name in names}
    pairs = []
    both = run_t5x, run_bundled
    with tempfile.TemporaryDirectory(prefix="shammie-bench-") as folder:
        write_data(sizes, f"{folder}/data")
        for turn in range(args.turns):
            order = both if turn % 2 == 0 else both[::-1]
            told = {one: one({**sizes, "steps": 2}, 1, folder, f"start-{turn}") for one in order}
            short = [told[one] for one in both]
            told = {one: one(sizes, args.log_every, folder, f"speed-{turn}") for one in order}
            long = [told[one] for one in both]
            pairs.append(Pair((short[0].first_s, short[1].first_s), (long[0].steps_per_s, long[1].steps_per_s)))
    return table(sizes, pairs, t5x_contract.commit_of("t5x") or "unknown")


def write_data(sizes: Mapping[str, int], folder: str) -> None:
    """Random tokens for both."""
    import numpy as np

    from seqio_tasks.token_files import write_tokens

    count = sizes["steps"] * sizes["batch_size"] * sizes["length"]
    for split in ("train", "validation"):
        ids = np.random.default_rng(0).integers(2, sizes["vocab_size"], count)
        write_tokens(folder, split, [ids], vocab_size=sizes["vocab_size"], text_bytes=count, made_with="random")


def bindings(sizes: Mapping[str, int], log_every: int, folder: str) -> dict[str, Any]:
    """What both commands are told."""
    return {
        "DATA": repr(f"{folder}/data"),
        **{name: sizes[name.lower()] for name in ("STEPS", "VOCAB_SIZE", "LENGTH", "BATCH_SIZE")},
        "LOG_EVERY": log_every,
        "CHECKPOINT_EVERY": 0,
        "m2_tiny/lm.LMConfig.width": sizes["width"],
        "m2_tiny/lm.LMConfig.layers": sizes["layers"],
        "m2_tiny/lm.LMConfig.heads": max(1, sizes["width"] // 64),
        "m2_tiny/lm.LMConfig.head_width": 64,
        "m2_tiny/lm.LMConfig.mlp_width": 4 * sizes["width"],
    }


def run_t5x(sizes: Mapping[str, int], log_every: int, folder: str, name: str) -> Run:
    """One run of T5X's command."""
    told = {**bindings(sizes, log_every, folder), "MODEL_DIR": repr(f"{folder}/t5x-{name}")}
    told |= {"train.infer_eval_dataset_cfg": None, "train.train_eval_dataset_cfg": None}
    begun, log = _run(["t5x.train", f"--gin_file=gin/t5x/{GIN}", *(f"--gin.{k}={v}" for k, v in told.items())])
    return of_t5x_log(log, begun, year=datetime.now().year)


def of_t5x_log(log: str, begun: float, *, year: int) -> Run:
    """What T5X's log lines, whose times have no year, tell of a run that began at this Unix time."""
    found = LINE.findall(log)
    times = [datetime.strptime(f"{year}{at}", "%Y%m%d %H:%M:%S.%f").timestamp() for at, _ in found]
    return _run_of(begun, times, [int(step) for _, step in found])


def run_bundled(sizes: Mapping[str, int], log_every: int, folder: str, name: str) -> Run:
    """One run of the bundled trainer's command, watched through its metrics file."""
    out = f"{folder}/bundled-{name}"
    told = {**bindings(sizes, log_every, folder), "EVAL_EVERY": 0}
    words = ["workflows.train", "--gin_file", f"gin/train/{GIN}", "--out", out]
    begun, times = time.time(), []
    process = _start([*words, *(f"--gin.{name}={value}" for name, value in told.items())])
    path = Path(out, "metrics.jsonl")
    while process.poll() is None:
        lines = path.read_bytes().count(b"\n") if path.exists() else 0
        times += [time.time()] * (lines - len(times))
        time.sleep(0.002)
    _, said = process.communicate()
    if process.returncode:
        raise UserError("the bundled trainer failed", said.strip().splitlines()[-1])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    times += [time.time()] * (len(rows) - len(times))
    return _run_of(begun, times, [row["step"] for row in rows])


def _run_of(begun: float, times: Sequence[float], steps: Sequence[int]) -> Run:
    if len(times) < 2:
        raise UserError(f"a run told of {len(times)} log points", "give more --steps, at least two times --log_every")
    return Run(times[0] - begun, (steps[-1] - steps[0]) / (times[-1] - times[0]))


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    from workflows.gin_config import gin_root

    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *sys.path]))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=gin_root(),
        env=environment,
    )


def _run(words: Sequence[str]) -> tuple[float, str]:
    begun = time.time()
    process = _start(words)
    _, log = process.communicate()
    if process.returncode:
        raise UserError(f"{words[0]} failed", log.strip().splitlines()[-1])
    return begun, log


def table(sizes: Mapping[str, int], pairs: Sequence[Pair], commit: str) -> Table:
    """The result of all turns."""
    speeds, starts = [one.steps_per_s for one in pairs], [one.first_s for one in pairs]
    ratios = sorted(ours / theirs for theirs, ours in speeds)
    speed = statistics.median(ratios)
    start = statistics.median(ours / theirs for theirs, ours in starts)
    middle = lambda both, side: round(statistics.median(one[side] for one in both), 3)  # noqa: E731
    return Table(
        title="the bundled trainer beside T5X, " + ", ".join(f"{n} {v}" for n, v in sizes.items()),
        columns=["trainer", "steps/s", "first step after, s", "speed ratio", "start ratio"],
        rows=[
            [f"T5X {commit[:7]}", middle(speeds, 0), middle(starts, 0), 1.0, 1.0],
            ["bundled", middle(speeds, 1), middle(starts, 1), round(speed, 4), round(start, 4)],
        ],
        notes=[
            f"medians of {len(pairs)} turns, who begins alternates",
            f"speed ratios lie from {ratios[0]:.3f} to {ratios[-1]:.3f}",
        ],
        targets=[
            Target("bundled / T5X, steps per second", round(speed, 4), SPEED_TARGET, "more"),
            Target("bundled / T5X, time to the first step", round(start, 4), START_TARGET, "less"),
        ],
    )
