"""Math-Verify in processes that can be killed, shared by threads: `MathProcesses`."""

import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

from shammie.errors import UserError

Opinion = Literal["equal", "unequal", "unreadable", "bad reference", "timeout", "crashed"]

_WORKER = Path(__file__).with_name("math_worker.py")
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
_START_SECONDS = 120


@functools.cache
def math_verify_name() -> str:
    """Name and version of the library, such as "math_verify@0.9.0".

    Raises:
        UserError: it is not installed.
    """
    try:
        return f"math_verify@{version('math-verify')}"
    except PackageNotFoundError as error:
        raise _absent() from error


def _absent() -> UserError:
    return UserError("boxed answers need Math-Verify, which is not installed", "pip install 'shammie[verify]'")


class _Worker:
    """One process; no two threads may use it at a time."""

    def __init__(self, cpu_seconds: int, memory_bytes: int) -> None:
        self.process = subprocess.Popen(
            # -P: the folder of the file is no place to import from, its modules are called like libraries
            [sys.executable, "-P", str(_WORKER), str(cpu_seconds), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # equal hashes of strings: the order of sets decides how SymPy goes about things
            env={name: os.environ[name] for name in _INHERITED if name in os.environ} | {"PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        self.words = b""
        try:
            word = self.word(_START_SECONDS)
        except BaseException:
            self.kill()
            raise
        if word != "ready":
            self.kill()
            raise _absent() if word == "absent" else RuntimeError(f"the grader of boxed answers did not start: {word}")

    def word(self, seconds: float) -> str:
        """The next line of its output; "stuck" where none comes in time, "gone" where none will."""
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        while b"\n" not in self.words:
            if not poll.poll(max(0, 1000 * (end - time.monotonic()))):
                return "stuck"
            more = os.read(self.process.stdout.fileno(), 4096)
            if not more:
                return "gone"
            self.words += more
        line, _, self.words = self.words.partition(b"\n")
        return line.decode()

    def ask(self, gold: str, answer: str, seconds: float) -> str:
        """The word on two answers; after "stuck" and "gone" the process is of no more use."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"gold": gold, "answer": answer}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return "gone"
        return self.word(seconds)

    def kill(self) -> None:
        """Ends it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class MathProcesses:
    """Compares answers by Math-Verify, in at most `workers` processes at a time, each started when it is first needed.

    A comparison may take `cpu_seconds` of CPU time, which is the same on a busy machine, and for the case that it
    doesn't even compute, `wall_seconds` by the clock; then its process is killed and the next one works. A context
    manager; any thread may call it.

    Args:
        workers: how many processes.
        cpu_seconds: for one comparison.
        wall_seconds: for one comparison.
        memory_bytes: of address space for one comparison.
    """

    def __init__(
        self, workers: int = 2, *, cpu_seconds: int = 3, wall_seconds: float = 60.0, memory_bytes: int = 1 << 30
    ) -> None:
        self.cpu_seconds, self.wall_seconds, self.memory_bytes = cpu_seconds, wall_seconds, memory_bytes
        self._turns = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def compare(self, gold: str, answer: str) -> Opinion:
        """What the library says of an answer, beside the reference: both as they stand in a box, without "$".

        Raises:
            UserError: the library is not installed.
        """
        gold, answer = gold.replace("$", ""), answer.replace("$", "")
        with self._turns:
            word = self._ask(gold, answer)
            if word == "gone":  # somebody ended the process; a comparison can only end its own child
                word = self._ask(gold, answer)
        return cast(Opinion, {"stuck": "timeout", "gone": "crashed"}.get(word, word))

    def _ask(self, gold: str, answer: str) -> str:
        with self._lock:
            if self._closed:
                raise RuntimeError("the processes of MathProcesses are closed")
            worker = self._idle.pop() if self._idle else None
        worker = worker or _Worker(self.cpu_seconds, self.memory_bytes)
        word = ""
        try:
            word = worker.ask(gold, answer, self.wall_seconds)
        finally:  # also when interrupted, lest the next thread read this one's answer
            with self._lock:
                keep = word not in ("", "stuck", "gone") and not worker.words and not self._closed
                if keep:
                    self._idle.append(worker)
            if not keep:
                worker.kill()
        return word

    def close(self) -> None:
        """Ends all processes; those at work end with their comparison."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()
