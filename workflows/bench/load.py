"""`shammie bench load`: the Equal-Info job under load, on one machine.

Cases: `large`: gigabytes of text; `tiny`: a million tiny documents; `one`: one huge document; `files`: ten thousand
input files. The text is the running Python's standard library, its paragraphs recombined by a seed, so that no two
passes over it are alike. The job runs as a command of its own; its processes are looked at four times a second.
Linux only: it reads /proc.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from beam_jobs.equal_info.config import JobConfig
from beam_jobs.equal_info.estimate import estimate
from shammie.errors import UserError
from workflows.bench.pipeline import write_text
from workflows.bench.table import Table, Target
from workflows.bench.watching import Watched, watch

CASES = ("large", "tiny", "one", "files")
TINY_DOCUMENTS, TINY_BYTES = 1_000_000, 20
FILES, FILE_BYTES = 10_000, 20_000
PARTS = 10  # files of the large case
MOST_OFF = 0.2  # of a prediction
FLAT = 0.9  # of the first quarter's throughput in the last, and the inverse for memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which (default: all)")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="of the large case (default: 5)")
    parser.add_argument("--document_gigabytes", type=float, default=2.0, help="of the one document (default: 2)")
    parser.add_argument("--workers", type=int, default=2, help="processes of Beam's in-process runner (default: 2)")
    parser.add_argument("--folder", default="", help="where to write; three times the text must fit")
    parser.add_argument("--seed", type=int, default=0, help="of the text (default: 0)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    rows: list[list[Any]] = []
    targets: list[Target] = []
    notes: list[str] = []
    for case in args.cases:
        with tempfile.TemporaryDirectory(prefix="shammie-load-", dir=args.folder or None) as folder:
            written = _write(case, folder, args)
            told = _predicted(folder, args.workers) if case == "large" else {}
            found = _job(case, folder, args.workers)
            stats = json.loads((Path(folder) / "out" / "stats.train.json").read_text())
            out_bytes = sum(path.stat().st_size for path in (Path(folder) / "out").glob("train.tfrecord-*"))
        lost = [written[name] - stats[name] for name in ("documents", "text_bytes")]
        files = max(found.open_files)
        rows.append(
            [
                case,
                round(stats["text_bytes"] / 1e6),
                stats["documents"],
                round(found.seconds, 1),
                round(stats["text_bytes"] / 1e6 / found.seconds, 1),
                round(found.core_seconds, 1),
                round(found.peak_bytes / 1e6),
                files,
                found.scratch_bytes,
                sum(map(abs, lost)),
            ]
        )
        targets += [
            Target(f"{case}: documents and bytes lost or doubled", sum(map(abs, lost)), 0, "less"),
            Target(f"{case}: bytes left in the temporary folder", found.scratch_bytes, 0, "less"),
        ]
        if case == "large":
            if len(set(found.done)) < 8:
                raise UserError(f"--gigabytes={args.gigabytes} is too little to see quarters of it", "give 1 or more")
            quarters, memory = throughput_by_quarter(found, stats["text_bytes"]), memory_by_quarter(found)
            notes += [
                f"predicted before the run, from samples: {told['core_seconds']:,.1f} core s, {told['seconds']:,.1f} s"
                f" on idle cores, {told['output_bytes']:,} bytes; the shards have {out_bytes:,}"
            ]
            off = {"core seconds": told["core_seconds"] / found.core_seconds, "bytes": told["output_bytes"] / out_bytes}
            targets += [
                Target(f"large: predicted {name}, share that they are off", round(abs(ratio - 1), 4), MOST_OFF, "less")
                for name, ratio in off.items()
            ]
            targets += [
                Target("large: throughput, last quarter / first", round(quarters[-1] / quarters[0], 3), FLAT),
                Target(
                    "large: median memory, last quarter / first", round(memory[-1] / memory[0], 3), 1 / FLAT, "less"
                ),
                Target("large: open files, last quarter / first", _files_growth(found), 1 / FLAT, "less"),
            ]
    return Table(
        title=f"The Equal-Info job under load, {args.workers} workers, one machine",
        columns=["case", "MB", "documents", "s", "MB/s", "core s", "peak MB", "open files", "scratch bytes", "lost"],
        rows=rows,
        notes=[
            *notes,
            "s: the whole command, start and end included; core s: user and system, all processes; memory: all "
            "processes together, shared pages counted in each",
            f"large: {PARTS} files; quarters are of the units of the encoding stage, the first after the workers began",
        ],
        targets=targets,
    )


def _predicted(folder: str, workers: int) -> dict[str, Any]:
    """What `--dry_run` says of the job beforehand."""
    return estimate(JobConfig(input=(f"{folder}/in",), output=f"{folder}/none"), workers=workers)


def throughput_by_quarter(found: Watched, text_bytes: int) -> list[float]:
    """Bytes a second of the encoding stage in each quarter of its units; units are alike in size."""
    units = max(found.done)
    begun = next(at for at, done in zip(found.at_s, found.done, strict=True) if done)
    first = next(done for done in found.done if done)
    ends, seen = [], first
    marks = [first + (units - first) * quarter / 4 for quarter in (1, 2, 3, 4)]
    for mark in marks:
        ends.append(next(at for at, done in zip(found.at_s, found.done, strict=True) if done >= mark))
    each = (units - seen) / 4 * text_bytes / max(1, units)
    return [each / max(1e-3, end - start) for start, end in zip([begun, *ends], ends, strict=False)]


def memory_by_quarter(found: Watched) -> list[int]:
    """The median memory in each quarter of the time in which units were done."""
    held = _while_encoding(found, found.rss_bytes)
    size = max(1, len(held) // 4)
    return [round(median(held[start : start + size])) for start in (0, size, 2 * size, len(held) - size)]


def _files_growth(found: Watched) -> float:
    held = _while_encoding(found, found.open_files)
    size = max(1, len(held) // 4)
    return round(median(held[-size:]) / median(held[:size]), 3)


def _while_encoding(found: Watched, values: list[int]) -> list[int]:
    units = max(found.done)
    return [value for value, done in zip(values, found.done, strict=True) if 0 < done < units] or values


def _job(case: str, folder: str, workers: int) -> Watched:
    command = [sys.executable, "-m", "beam_jobs.equal_info", "--input", f"{folder}/in", "--output", f"{folder}/out"]
    if workers > 1:
        command += [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
    if case == "one":
        command += ["--documents", "file"]
    found = watch(command, done=f"{folder}/out/_work.train/units")
    if found.code:
        raise RuntimeError(f"the job of the case {case!r} ended with code {found.code}: {found.output[-2000:]}")
    return found


def _write(case: str, folder: str, args: argparse.Namespace) -> dict[str, int]:
    """Writes the case's text into folder/in; its documents, and their bytes without line ends."""
    into = Path(folder) / "in"
    into.mkdir()
    if case == "large":
        size = round(args.gigabytes * 1e9) // PARTS
        made = [
            write_text(f"{into}/{part:03d}.txt", form="text", size=size, seed=args.seed + part) for part in range(PARTS)
        ]
        documents = ends = sum(made)
    elif case == "tiny":
        with open(into / "tiny.txt", "wb") as file:
            file.writelines(b"%0*d\n" % (TINY_BYTES, number) for number in range(TINY_DOCUMENTS))
        documents = ends = TINY_DOCUMENTS
    elif case == "one":
        write_text(f"{into}/one.txt", form="lines", size=round(args.document_gigabytes * 1e9), seed=args.seed)
        documents, ends = 1, 0
    else:
        whole = into.parent / "whole.txt"
        write_text(str(whole), form="text", size=FILES * FILE_BYTES, seed=args.seed)
        documents = ends = _split(whole, into)
    return {"documents": documents, "text_bytes": sum(path.stat().st_size for path in into.rglob("*.txt")) - ends}


def _split(whole: Path, into: Path) -> int:
    """Deals a file's lines to many files by turns; how many lines."""
    lines = whole.read_bytes().removesuffix(b"\n").split(b"\n")
    whole.unlink()
    for number in range(FILES):
        folder = into / f"{number // 1000:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05d}.txt").write_bytes(b"\n".join(lines[number::FILES] or [b"an empty share"]) + b"\n")
    empty = max(0, FILES - len(lines))
    return len(lines) + empty
