"""Which of several ways to compute a group is the fastest: timed once per shape, then kept beside the cells."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from shammie import files

Candidate = Callable[[], float | None]


class Ways:
    """The choices of one store and kind. Threads may share it.

    A choice lies in a file of its own and holds from then on, so that a resumed run, and cells that are added later,
    are computed the same way. Two processes that come to a new key in the same instant may each time it: the first
    file holds for all that come later.

    Args:
        folder: where choices are kept, local or remote; None keeps them in memory.
        clock: seconds; tests inject one.
    """

    def __init__(self, folder: str | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._folder, self._clock = folder, clock
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()  # one measurement at a time: two would slow each other down

    def choose(self, key: Any, candidates: Mapping[str, Candidate]) -> str:
        """The name of the fastest candidate for this key.

        Args:
            key: plain JSON: what the choice depends on, such as the shapes. It names the machine's part too where that
                matters: a store may be filled by several machines.
            candidates: name to a function that runs a small sample and returns the seconds it took; where it returns
                None, the whole call is timed. Each is called once, in this order; of equals the first is chosen.
        """
        name = files.digest({"key": key, "candidates": sorted(candidates)})
        with self._lock:
            if name not in self._known:
                self._known[name] = self._read(name) or self._measure(name, key, candidates)
            return self._known[name]

    def _measure(self, name: str, key: Any, candidates: Mapping[str, Candidate]) -> str:
        seconds = {}
        for word, candidate in candidates.items():
            start = self._clock()
            returned = candidate()
            seconds[word] = float(self._clock() - start if returned is None else returned)
        chosen = min(seconds, key=seconds.__getitem__)
        kept = self._read(name)  # another process may have been faster
        if kept is None and self._folder is not None:
            files.make_directory(self._folder)
            files.write_json(self._path(name), {"key": key, "seconds": seconds, "chosen": chosen})
        return kept or chosen

    def _path(self, name: str) -> str:
        return files.join(self._folder or "", f"{name[:32]}.json")

    def _read(self, name: str) -> str | None:
        if self._folder is None:
            return None
        try:
            return files.read_json(self._path(name))["chosen"]
        except (FileNotFoundError, ValueError, KeyError):
            return None
