"""Commands as processes: started with or without a fault, waited for, and what they said at their end."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

WAIT_S = 1200.0
_OWN = re.compile(r"(workflows|beam_jobs)(\.\w+)*: ")  # begins what our commands say


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        code: its exit code; below 0 where a signal killed it.
        seconds: from its start.
        cpu: seconds of processor time, its own children's included.
        said: all that it wrote to stderr.
    """

    code: int
    seconds: float
    cpu: float
    said: str

    @property
    def told(self) -> str:
        """Its own last line: libraries may add more at the exit."""
        lines = self.said.strip().splitlines() or [""]
        return next((line for line in reversed(lines) if _OWN.match(line)), lines[-1])

    @property
    def exit(self) -> str:
        """For people: SIGKILL, or the code."""
        return signal.Signals(-self.code).name if self.code < 0 else str(self.code)


class Process:
    """A command that runs; as a context, one that does not outlive it, whatever goes wrong there.

    Args:
        words: what follows `python -m`.
        faults: see `workflows.chaos.faults`.
    """

    def __init__(self, words: Sequence[str], faults: Mapping[str, Any] | None = None) -> None:
        if faults:
            words = ["workflows.chaos.faults", json.dumps(faults), *words]
        self._started, self._cpu = time.monotonic(), _cpu_of_children()
        self._said = tempfile.TemporaryFile()  # a pipe that nobody reads would halt a command that says much
        self._process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=self._said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running():
            below = children_of(self.pid)
            self.send(signal.SIGKILL)  # which ends a halted process as well
            for pid in below:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def send(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stopped(self) -> bool:
        """Whether SIGSTOP has stopped it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
        except OSError:
            return False

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition, or for the process's end.

        Raises:
            TimeoutError: neither came.
        """
        deadline = time.monotonic() + WAIT_S
        while self.running() and not condition():
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} came to no end in {WAIT_S:.0f} s")
            time.sleep(0.005)

    def end(self, *, stop_after: float | None = None) -> Ended:
        """Waits for its end.

        Args:
            stop_after: seconds from its start after which it gets SIGTERM, if it still runs.
        """
        try:
            left = WAIT_S if stop_after is None else max(0.0, self._started + stop_after - time.monotonic())
            code = self._process.wait(timeout=left)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL if stop_after is None else signal.SIGTERM)
            self.wait_until(lambda: False)
            code = self._process.wait()
        seconds, cpu = time.monotonic() - self._started, _cpu_of_children() - self._cpu
        self._said.seek(0)
        return Ended(code, seconds, cpu, self._said.read().decode(errors="replace"))


def _cpu_of_children() -> float:
    """Of those that have ended: where two run at a time, each one's is that of both."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(words: Sequence[str], faults: Mapping[str, Any] | None = None) -> Ended:
    """Runs a command to its end."""
    with Process(words, faults) as process:
        return process.end()


def children_of(pid: int) -> list[int]:
    """The numbers of the living processes below one, nearest first."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        below = parents.get(left.pop(0), [])
        found += below
        left += below
    return sorted(found, key=lambda one: (one not in parents.get(pid, []), one))


def words_of(pid: int) -> str:
    """A process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def killed_by_itself(number: int, at: str, *, count: int = 1, when: str = "after") -> dict[str, Any]:
    """The fault of a signal at a rename: when the count-th file whose name matches has, or has not quite, appeared."""
    return {"signal": {"number": int(number), "at": at, "count": count, "when": when}}
