"""`shammie bench flink`: the Equal-Info job on a Flink cluster of this machine beside the in-process runner.

Both have as many Python workers, read the same text, and must write the same bytes. The clock covers the whole command,
from its start to its end; the cluster stands before it begins.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from beam_jobs.flink.cluster import standing
from shammie.errors import UserError
from shammie.files import sha256_of
from workflows.bench.pipeline import write_text
from workflows.bench.table import Table, Target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[2.0], help="sizes of text (default: 2)")
    parser.add_argument("--workers", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many runs counts (default: 3)")
    parser.add_argument("--folder", default="", help="where to write; three times the text must fit")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.

    Raises:
        UserError: no cluster can be had here.
    """
    rows: list[list[Any]] = []
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="shammie-flink-", dir=args.folder or None) as folder:
        with standing(f"{folder}/cluster", task_managers=args.workers) as cluster:
            here = (f"--direct_num_workers={args.workers}", "--direct_running_mode=multi_processing")
            for size in args.gigabytes:
                write_text(f"{folder}/text.txt", form="text", size=round(size * 1e9))
                taken: dict[str, list[float]] = {"in-process": [], "flink": []}
                for _ in range(args.repeats):
                    made = {}
                    for name, flags in (("in-process", here), ("flink", cluster.flags)):
                        seconds, made[name] = _encoded(f"{folder}/text.txt", f"{folder}/{name}", flags)
                        taken[name].append(seconds)
                    if made["flink"] != made["in-process"]:
                        raise UserError(f"Flink wrote other bytes than the in-process runner, of {size} GB")
                seconds = {name: median(values) for name, values in taken.items()}
                rows += [[size, name, seconds[name], size * 1e3 / seconds[name]] for name in seconds]
                ratio = round(seconds["in-process"] / seconds["flink"], 3)
                targets.append(Target(f"throughput, Flink / in-process, {size} GB", ratio, 0.8))
    return Table(
        title=f"The Equal-Info job, {args.workers} workers: Flink, its start excluded, beside the in-process runner",
        columns=["GB", "runner", "s", "MB/s"],
        rows=rows,
        notes=[f"the median of {args.repeats}, by turns; every output file equal by sha256"],
        targets=targets,
    )


def _encoded(text: str, output: str, flags: tuple[str, ...]) -> tuple[float, dict[str, str]]:
    """The seconds of a job, and the sha256 of each file that it wrote."""
    command = [sys.executable, "-m", "beam_jobs.equal_info", "--input", text, "--output", output, "--overwrite", *flags]
    started = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if ended.returncode:
        raise UserError(f"the job with {flags[0]} ended with code {ended.returncode}: {ended.stderr[-500:]}")
    files = [path for path in sorted(Path(output).iterdir()) if path.is_file() and not path.name.startswith(".")]
    return seconds, {path.name: sha256_of(path) for path in files}
