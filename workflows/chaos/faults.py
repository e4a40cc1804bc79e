"""A command with a fault in it: python -m workflows.chaos.faults FAULTS MODULE [arguments].

FAULTS is JSON, and each part of it may be left out:
    {"signal": {"number": 9, "at": "units/.*json$", "count": 3, "when": "after"}}
        the process sends itself a signal before or after its count-th rename onto a name that matches
    {"read": {"path": "text.txt", "after": 1000000}}
        reading a local file whose name ends so fails with EIO from that byte on
    {"clock": {"jump": 86400, "every": 5}}
        the wall clock jumps so many seconds forwards, then back, and so on, at each fifth look at it
"""

import errno
import io
import os
import re
import runpy
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np


def install(faults: dict[str, Any]) -> None:
    """Makes this process faulty from now on."""
    if "signal" in faults:
        _signal(**faults["signal"])
    if "read" in faults:
        _read(**faults["read"])
    if "clock" in faults:
        _clock(**faults["clock"])


def _signal(number: int, at: str, count: int, when: str) -> None:
    wanted, seen, lock = re.compile(at), [0], threading.Lock()

    def watched(real: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, *more: Any, **settings: Any) -> None:
            with lock:
                seen[0] += bool(wanted.search(os.fspath(target)))
                now = seen[0] == count
                if now:
                    seen[0] += 1
            if now and when == "before":
                os.kill(os.getpid(), number)
            real(source, target, *more, **settings)
            if now and when == "after":
                os.kill(os.getpid(), number)

        return rename

    os.replace, os.rename = watched(os.replace), watched(os.rename)


class _Failing(io.RawIOBase):
    """A file that the disk gives up to a byte and no further."""

    def __init__(self, file: IO[bytes], after: int, path: str) -> None:
        self._file, self._after, self._path = file, after, path

    def readinto(self, buffer: Any, /) -> int:
        if self._file.tell() >= self._after:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
        view = np.frombuffer(buffer, np.uint8)
        data = self._file.read(min(len(view), self._after - self._file.tell()))
        view[: len(data)] = np.frombuffer(data, np.uint8)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _read(path: str, after: int) -> None:
    from shammie import files

    def failing(real: Callable[..., IO[bytes]]) -> Callable[..., Any]:
        def open_read(name: Any) -> Any:
            file = real(name)
            return io.BufferedReader(_Failing(file, after, os.fspath(name))) if os.fspath(name).endswith(path) else file

        return open_read

    files.open_read = failing(files.open_read)
    from beam_jobs import storage

    storage.open_read = failing(storage.open_read)


def _clock(jump: float, every: int) -> None:
    real, looks = time.time, [0]

    def now() -> float:
        looks[0] += 1
        turn = looks[0] // every % 4  # as it is, forwards, as it is, back
        return real() + jump * (0, 1, 0, -1)[turn]

    time.time = now
    time.time_ns = lambda: int(now() * 1e9)


def main(words: list[str]) -> None:
    """Runs a module as a command, in this process."""
    import json

    faults, module, *rest = words
    install(json.loads(faults))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
