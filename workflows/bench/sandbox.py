"""`shammie bench sandbox`: trivial programs graded a second, beside a new interpreter for each.

A program is graded by its tests in the sandbox: two processes, all layers of isolation. Beside it, by turns: a cold
`python -I` that executes program and test in one process without any isolation, and the same with `-S`; as many at a
time as the sandbox has workers. Waiting for the first run of each, which starts fork servers, is not counted.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from workflows.bench.table import Table, Target

TARGET_PER_S = 200.0
PROGRAM, TESTS = "def add_one(x):\n    return x + 1\n", ["assert add_one(1) == 2", "assert add_one(-1) == 0"]
CASE = ("41\n", "42\n")
SCRIPT = "print(int(input()) + 1)\n"
TIMEOUT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--workers", type=int, default=2, help="runs at a time (default: 2)")
    add("--programs", type=int, default=400, help="of a turn in the sandbox; a twentieth of it cold (default: 400)")
    add("--turns", type=int, default=5, help="turns of each that are measured (default: 5)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    from beam_jobs.sandbox import Sandbox

    with Sandbox(args.workers) as sandbox:
        ways: dict[str, tuple[Callable[[], bool], int]] = {
            "sandbox, tests": (lambda: sandbox.run_python(PROGRAM, TESTS, TIMEOUT_S).passed, args.programs),
            "sandbox, a script": (lambda: sandbox.run_stdin(SCRIPT, [CASE], TIMEOUT_S).passed, args.programs),
            "python -I, no isolation": (lambda: _cold("-I"), max(args.workers, args.programs // 20)),
            "python -I -S, no isolation": (lambda: _cold("-I", "-S"), max(args.workers, args.programs // 20)),
        }
        return table(measure(ways, args.workers, args.turns), args.workers)


def _cold(*flags: str) -> bool:
    code = "\n".join([PROGRAM, *TESTS])
    return subprocess.run([sys.executable, *flags, "-c", code], env={}, timeout=TIMEOUT_S).returncode == 0


def measure(
    ways: dict[str, tuple[Callable[[], bool], int]],
    workers: int,
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Programs a second of each way, turn by turn.

    Args:
        ways: by name, what grades a program and whether it passed, and how many times it is called in a turn.
        workers: calls at a time.
        turns: that are measured, after one that is not.
        clock: seconds; tests inject one.

    Raises:
        RuntimeError: a program did not pass.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with ThreadPoolExecutor(workers) as threads:
        for turn in range(turns + 1):
            for name, (grade, count) in ways.items():
                start = clock()
                passed = sum(threads.map(lambda _, grade=grade: grade(), range(count if turn else workers)))
                seconds = clock() - start
                if passed != (count if turn else workers):
                    raise RuntimeError(f"{name}: a program that is right did not pass")
                if turn:
                    rates[name].append(count / seconds)
    return rates


def table(rates: dict[str, list[float]], workers: int) -> Table:
    """The result: medians over turns, and the target.

    Args:
        rates: programs a second, as `measure` gives them; the first is what the target is for.
        workers: runs at a time.
    """
    first, *_ = rates
    medians = {name: statistics.median(found) for name, found in rates.items()}
    slowest = min(medians.values())
    return Table(
        title=f"trivial programs graded a second, {workers} at a time",
        columns=["how", "programs/s", "slowest turn", "fastest turn", "times the slowest"],
        rows=[
            [name, medians[name], min(found), max(found), round(medians[name] / slowest, 2)]
            for name, found in rates.items()
        ],
        notes=["a program's tests run in a second process; a script is one process and its output is compared"],
        targets=[Target("sandboxed programs/s", round(medians[first], 1), TARGET_PER_S)],
    )
