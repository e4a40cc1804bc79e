"""What faults are done to: a command that writes a folder, and what in that folder counts."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shammie.files import sha256_of

DAMAGED = "damaged_checkpoints"


@dataclass(frozen=True)
class Subject:
    """A job.

    Attributes:
        name: one or two words.
        words: an output folder to what follows `python -m`.
        kept: an output folder to how many pieces of its work a next run would not do again.
        at_once: how many are in work at a time: what a kill may cost at most.
        outputs: a finished output folder to what it holds, by name: equal runs give equal values.
        records: a finished output folder to its records and how often each is there.
    """

    name: str
    words: Callable[[Path], list[str]]
    kept: Callable[[Path], int]
    at_once: int
    outputs: Callable[[Path], Mapping[str, str]]
    records: Callable[[Path], Counter[str]]


@dataclass(frozen=True)
class Clean:
    """A job's undisturbed run: its seconds, its pieces of work, and what it made."""

    seconds: float
    parts: int
    outputs: Mapping[str, str]
    records: Counter[str]
    files: frozenset[str]


def files_of(folder: Path) -> frozenset[str]:
    """All files below a folder that might count as output.

    Not those of Orbax and TensorBoard, whose names differ from run to run, nor damaged checkpoints, kept for a look.
    """
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return frozenset(str(path) for path in found if not {"state", "tensorboard", DAMAGED} & set(path.parts))


def hashes_of(folder: Path, pattern: str = "*") -> dict[str, str]:
    """sha256 of every file below a folder whose name does not begin with a dot: those are this machine's."""
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob(pattern))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def short_hash(data: bytes) -> str:
    """Of a record, to count it by."""
    return hashlib.sha256(data).hexdigest()[:24]


def count_of(folder: Path, pattern: str) -> int:
    """How many files match below a folder, while others write there."""
    try:
        return sum(1 for _ in folder.glob(pattern))
    except OSError:
        return 0
