"""`shammie bench pipeline`: the Beam job from end to end beside the bare codec on the same text.

The text is the running Python's standard library, its paragraphs shuffled and repeated; a document is a run of them,
and each form holds the same documents. Every job runs in a process of its own, one worker, in-process runner; a tiny
job before it loads compiled code, as one call does for the bare codec. The clock covers reading the text, both
stages and writing every file.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from workflows.bench.table import Table, Target

FORMS = ("text", "jsonl", "lines")
DOCUMENT_BYTES = 2_000
_CHILD = """
import json, sys
sys.path[:0] = {path!r}
from shammie import logs
logs.set_for_command(debug=False)
from beam_jobs.equal_info.config import JobConfig
from beam_jobs.equal_info.job import run
job = lambda text, output: JobConfig(input=(text,), output=output, codec={codec!r})
run(job({tiny!r}, {tiny!r} + ".out"))
result = run(job({text!r}, {output!r}))
from workflows.bench.pipeline import peak_bytes
print(json.dumps({{"seconds": result.seconds, "rss_bytes": peak_bytes(), **result.stats}}))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 300], help="sizes of text (default: 100 300)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="forms of text (default: all)")
    parser.add_argument("--codec", default="default", help="a codec's file, or bytes (default: the shipped one)")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs counts (default: 3)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    rows: list[list[Any]] = []
    measured: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="shammie-bench-") as folder:
        for form in args.forms:
            for megabytes in args.megabytes:
                text = f"{folder}/{form}{megabytes}.{'jsonl' if form == 'jsonl' else 'txt'}"
                write_text(text, form=form, size=megabytes * 1_000_000)
                found = measure(text, codec=args.codec, repeats=args.repeats)
                os.unlink(text)
                measured[form, megabytes] = found
                rows.append(
                    [
                        form,
                        megabytes,
                        round(found["documents"] / found["seconds"]),
                        round(found["job_mb_per_s"], 1),
                        round(found["bare_mb_per_s"], 1),
                        round(found["share"], 3),
                        round(found["rss_bytes"] / 1e6),
                    ]
                )
    return Table(
        title="Beam job, one worker, in-process, beside the bare codec on the same documents",
        columns=["form", "MB", "documents/s", "job MB/s", "bare codec MB/s", "share", "peak MB"],
        rows=rows,
        notes=[
            f"text: documents of about {DOCUMENT_BYTES} bytes, one a line; jsonl: the same as JSON; lines: each line "
            "of the source code a document (about 40 bytes)",
            "the job's worker reads and writes in two threads beside the encoding one; the bare codec has one",
            f"best of {args.repeats}; MB of document text, without newlines and JSON",
        ],
        targets=_targets(args, measured),
    )


def _targets(args: argparse.Namespace, measured: dict[tuple[str, int], dict[str, Any]]) -> list[Target]:
    form, largest, smallest = args.forms[0], max(args.megabytes), min(args.megabytes)
    top = measured[form, largest]
    targets = [
        Target(f"job / bare codec bytes per s, {form}, {largest} MB", round(top["share"], 3), 0.6),
        Target(f"peak memory in MB, {form}, {largest} MB", round(top["rss_bytes"] / 1e6), 1000, "less"),
    ]
    if largest != smallest:
        growth = top["rss_bytes"] / measured[form, smallest]["rss_bytes"]
        targets.append(Target(f"peak memory at {largest} MB / at {smallest} MB, {form}", round(growth, 3), 1.1, "less"))
    return targets


def peak_bytes() -> int:
    """The most memory that this process has held, in bytes.

    ru_maxrss will not do on Linux: it survives exec, so a child begins with its parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(text: str, *, codec: str, repeats: int) -> dict[str, Any]:
    """Runs the job and the bare codec on one file, by turns; the best of each."""
    found: list[dict[str, Any]] = []
    bare = 0.0
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(text)) as folder:
            tiny = f"{folder}/tiny{Path(text).suffix}"
            with open(text, "rb") as source, open(tiny, "wb") as file:
                file.writelines(source.readline() for _ in range(100))
            code = _CHILD.format(path=sys.path, codec=codec, tiny=tiny, text=text, output=f"{folder}/out")
            child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True)
            found.append(json.loads(child.stdout.splitlines()[-1]))
        bare = max(bare, _bare(text, codec))
    best = min(found, key=lambda one: one["seconds"])
    best["rss_bytes"] = max(one["rss_bytes"] for one in found)
    speed = best["text_bytes"] / best["seconds"] / 1e6
    return {**best, "job_mb_per_s": speed, "bare_mb_per_s": bare, "share": speed / bare}


def _bare(text: str, codec: str) -> float:
    """Megabytes a second of the codec alone on the documents of a file's first 64 MB, fed in the job's batches."""
    import time

    from beam_jobs.readers import read_unit
    from beam_jobs.records import Documents, without_empty
    from beam_jobs.units import ReadConfig, find_sources, plan_units
    from models.equal_info.load import load_codec

    coder = load_codec(codec)
    config = ReadConfig()
    plan = plan_units(find_sources([text], config), config)
    batches = [
        without_empty(item)[0]
        for unit in plan.units[:4]
        for item in read_unit(plan, unit, config)
        if isinstance(item, Documents)
    ]
    coder.encode_documents(batches[0].text, batches[0].bounds)
    started = time.perf_counter()
    for batch in batches:
        coder.encode_documents(batch.text, batch.bounds)
    return sum(int(b.bounds[-1] - b.bounds[0]) for b in batches) / (time.perf_counter() - started) / 1e6


def write_text(path: str, *, form: str, size: int, seed: int = 0) -> int:
    """Writes about `size` bytes of the standard library's source, its paragraphs recombined again and again.

    Args:
        path: where.
        form: "text", "jsonl" or "lines".
        size: in bytes.
        seed: of the shuffle.

    Returns:
        How many documents.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in library.rglob("*.py") if "site-packages" not in p.parts)
    paragraphs = [part for file in files for part in file.read_bytes().split(b"\n\n") if part.strip()]
    shuffle = random.Random(seed)
    left, documents = size, 0
    with open(path, "wb") as file:
        while left > 0:
            shuffle.shuffle(paragraphs)
            document: list[bytes] = []
            held = 0
            for paragraph in paragraphs:
                document.append(paragraph)
                held += len(paragraph) + 2
                if held < DOCUMENT_BYTES:
                    continue
                line = _line(b"\n\n".join(document), form)
                left -= file.write(line)
                documents += 1
                document, held = [], 0
                if left <= 0:
                    break
    return documents


def _line(document: bytes, form: str) -> bytes:
    if form == "jsonl":
        return json.dumps({"text": document.decode(errors="replace")}).encode() + b"\n"
    # a text document is one line, so its own line ends become spaces
    return document.replace(b"\n", b" ") + b"\n" if form == "text" else document + b"\n"
