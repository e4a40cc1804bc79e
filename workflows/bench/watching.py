"""What a command's processes hold while they run: memory, open files, processor seconds, and units done by when."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EVERY_S = 0.25
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """A command's run.

    Attributes:
        seconds: from start to end.
        core_seconds: of all its processes, user and system.
        at_s: when it was looked at, N times.
        rss_bytes: N; what all its processes held together, shared pages counted in each.
        open_files: N; of all its processes.
        done: N; the files in the watched folder.
        scratch_bytes: what it left in its temporary folder.
        code: its exit code.
        output: what it printed.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0
    at_s: list[float] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    open_files: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    scratch_bytes: int = 0
    code: int = 0
    output: str = ""

    @property
    def peak_bytes(self) -> int:
        """The most memory at a time."""
        return max(self.rss_bytes, default=0)


def watch(command: Sequence[str], *, done: str = "", environment: Mapping[str, str] | None = None) -> Watched:
    """Runs a command to its end, and looks at its processes four times a second.

    Args:
        command: the words.
        done: a folder whose finished files are counted: those that end in .json.
        environment: instead of this process's.
    """
    found = Watched()
    spent: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="shammie-watch-") as scratch, tempfile.TemporaryFile() as out:
        given = {**(environment or os.environ), "TMPDIR": scratch}
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=given)
        while process.poll() is None:
            _look(found, process.pid, spent, time.monotonic() - started, done)
            time.sleep(EVERY_S)
        found.seconds = time.monotonic() - started
        found.core_seconds = sum(spent.values())
        found.code = process.returncode
        found.scratch_bytes = sum(path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file())
        out.seek(0)
        found.output = out.read().decode(errors="replace")
    return found


def tree_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def _look(found: Watched, pid: int, spent: dict[int, float], at_s: float, done: str) -> None:
    rss = files = 0
    for one in tree_of(pid):
        fields = _stat(one)
        if not fields:
            continue
        spent[one] = (int(fields[11]) + int(fields[12])) / TICKS
        rss += int(fields[21]) * PAGE
        try:
            files += len(os.listdir(f"/proc/{one}/fd"))
        except OSError:  # it ended just now
            continue
    found.at_s.append(at_s)
    found.rss_bytes.append(rss)
    found.open_files.append(files)
    found.done.append(_count(done))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, state first; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _count(folder: str) -> int:
    try:
        return sum(name.endswith(".json") for name in os.listdir(folder)) if folder else 0
    except OSError:
        return 0
