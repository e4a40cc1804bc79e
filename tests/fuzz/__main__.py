"""Fuzzes the parsers of outside bytes: `python -m tests.fuzz --seconds 600` for all, or some of them by name.

Each group of parsers runs in a process of its own, so that a crash, a hang or too much memory is met like any other
finding. Findings are written to --keep, GROUP/CASE-HASH.bin with a .txt beside; put into tests/fuzz/found/GROUP the
.bin is a regression test. Exits with 1 where there are findings.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shammie.progress import Progress
from tests.fuzz.loop import Report, Slot, fuzz
from tests.fuzz.targets import GROUPS, cases_of
from workflows.bench.table import Table

SET_UP_S = 300.0  # imports and valid inputs
MOST_DEATHS = 5
ROOM_BYTES = 3 << 30  # of addresses, for the inputs


def main() -> int:
    """Parses the flags; the child's part and the parent's."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of: {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each group (default: 600)")
    parser.add_argument("--inputs", type=int, help="end a group after so many, if its time has not ended before")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--keep", default="out/fuzz", metavar="DIR", help="gets inputs that are findings")
    parser.add_argument("--json", metavar="FILE", help="also write what was met there")
    parser.add_argument(
        "--hang", type=float, default=60.0, help="seconds after which an input never ends (default: 60)"
    )
    parser.add_argument("--child", metavar="SLOT", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        return _child(told)
    wrong = [name for name in told.groups if name not in GROUPS and ":" not in name]
    if wrong:
        parser.error(f"unknown group {wrong[0]!r}; there are: {', '.join(GROUPS)}")
    chosen = told.groups or list(GROUPS)
    found: dict[str, Report] = {}
    with Progress("fuzz", len(chosen) * told.seconds, "s") as progress:
        for name in chosen:
            found[name] = _group(name, told, progress)
            _keep(name, found[name], Path(told.keep))
    rows = [
        [
            name,
            one.executions,
            one.executions / max(one.seconds, 1e-9),
            one.accepted,
            len(one.errors),
            len(one.findings),
        ]
        for name, one in found.items()
    ]
    notes = [f"{name}: {key}" for name, one in found.items() for key in sorted(one.findings)]
    title = f"{told.seconds:g} s for each group of parsers, seed {told.seed}"
    columns = ["group", "inputs", "inputs/s", "accepted", "kinds of answers", "findings"]
    print(Table(title, columns, rows, notes=notes).render())
    if told.json:
        Path(told.json).write_text(json.dumps({"columns": columns, "rows": rows, "findings": notes}, indent=2) + "\n")
    return 1 if notes else 0


def _child(told: argparse.Namespace) -> int:
    cases = cases_of(told.groups[0])
    slot = Slot(told.child)
    for case in cases:  # imports and compiled kernels before the clock and the limit of addresses
        for data in case.seeds():
            case.parse(data)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    report = fuzz(cases, told.seconds, told.seed, slot, told.first, told.inputs)
    findings = {key: {**one, "data": one["data"].hex()} for key, one in report.findings.items()}
    Path(f"{told.child}.json").write_text(
        json.dumps({**vars(report), "errors": sorted(report.errors), "findings": findings})
    )
    return 0


def _group(name: str, told: argparse.Namespace, progress: Progress) -> Report:
    """One group, in as many processes as die of it."""
    total, left, first = Report(), told.seconds, told.first
    for _ in range(MOST_DEATHS):
        with tempfile.TemporaryDirectory(prefix="shammie-fuzz-") as folder:
            died = _process(name, left, first, told, folder, total, progress)
        if not died:
            break
        left, first = told.seconds - total.seconds, total.executions
        if left < 1:
            break
    return total


def _process(
    name: str, left: float, first: int, told: argparse.Namespace, folder: str, total: Report, progress: Progress
) -> bool:
    slot_path, log_path = os.path.join(folder, "slot"), os.path.join(folder, "log")
    slot = Slot(slot_path)
    words = [name, "--seconds", str(left), "--seed", str(told.seed), "--first", str(first), "--child", slot_path]
    words += [] if told.inputs is None else ["--inputs", str(max(0, told.inputs - first))]
    began = time.monotonic()
    with open(log_path, "wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", *words], stdout=log, stderr=log
        )
        hung, fuzzing_since, done = False, 0.0, progress.done
        while child.poll() is None:
            time.sleep(0.1)
            number, since, _, _ = slot.get()
            now = time.monotonic()
            fuzzing_since = fuzzing_since or since
            hung = now - since > told.hang if since else now - began > SET_UP_S
            if hung:
                child.kill()
            if fuzzing_since:
                progress.to(done + min(left, now - fuzzing_since), f"{name}, {number} inputs")
        child.wait()
    number, since, case, data = slot.get()
    said = Path(log_path).read_bytes()[-3000:].decode("utf-8", "replace")
    if child.returncode == 0:
        report = json.loads(Path(f"{slot_path}.json").read_text())
        total.executions += report["executions"]
        total.accepted += report["accepted"]
        total.seconds += report["seconds"]
        total.errors |= set(report["errors"])
        for one in report["findings"].values():
            total.add(one["case"], one["what"], bytes.fromhex(one["data"]), one["told"])
        return False
    if not since:
        total.add(name, "its valid inputs cannot be made", b"", said)
        total.seconds = left
        return False
    total.executions = number + 1
    total.seconds += time.monotonic() - fuzzing_since if fuzzing_since else left
    total.add(case, "hang" if hung else f"crash {child.returncode}", data, said)
    return True


def _keep(name: str, report: Report, folder: Path) -> None:
    for key, one in report.findings.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        stem = place / f"{one['case']}-{hashlib.sha256(one['data']).hexdigest()[:10]}"
        stem.with_suffix(".bin").write_bytes(one["data"])
        stem.with_suffix(".txt").write_text(f"{key}\n{one['told']}\n")
        _say(f"finding in {name}: {key}: {stem.with_suffix('.bin')}")


def _say(text: Any) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
