"""Sorted files: what a unit leaves for the shards. Records (TFRecord frames) in the order of their
hashes, readable by hash range.

A unit writes one such file per batch of documents. A shard later reads one run of each, so that a shuffle of any size
takes no more memory than a batch here and a slice there. Layout, little-endian: the records' bytes, u64 hashes [N],
i64 bounds [N + 1].
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from beam_jobs import storage
from beam_jobs.ordering import shard_borders
from beam_jobs.tfrecord import GOOD, scan
from shammie.errors import UserError


@dataclass(frozen=True)
class SortedFile:
    """What is known of a sorted file.

    Attributes:
        name: its name in the work folder.
        records: how many.
        size: bytes of all records.
        checksum: CRC-32 of hashes and bounds.
        cuts: for shards 0 to S, the first record of each, and the number of records at the end.
        places: the bytes at which those begin.
    """

    name: str
    records: int
    size: int
    checksum: int
    cuts: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def file_size(self) -> int:
        """Bytes of the whole file."""
        return self.size + 8 * self.records + 8 * (self.records + 1)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "SortedFile":
        """The inverse of dataclasses.asdict after a trip through JSON."""
        return cls(**{**value, "cuts": tuple(value["cuts"]), "places": tuple(value["places"])})


def write_sorted(
    directory: str, name: str, hashes: np.ndarray, bounds: np.ndarray, data: np.ndarray, shards: int
) -> SortedFile:
    """Writes records that are in the order of their hashes.

    Args:
        directory: the work folder.
        name: the file's name there.
        hashes: uint64 [N], rising.
        bounds: int64 [N + 1], record r is data[bounds[r] : bounds[r + 1]].
        data: uint8.
        shards: how many shards the records go to.
    """
    cuts = np.concatenate([[0], np.searchsorted(hashes, shard_borders(shards)), [len(hashes)]])
    about = SortedFile(
        name,
        len(hashes),
        len(data),
        zlib.crc32(bounds.tobytes(), zlib.crc32(hashes.tobytes())),
        tuple(cuts.tolist()),
        tuple(bounds[cuts].tolist()),
    )
    # no waiting for the disk: a power cut costs a unit, which its file's size and checksum would show
    with storage.writing(f"{directory}/{name}", sync=False) as file:
        for array in (data, hashes, bounds):
            file.write(memoryview(np.ascontiguousarray(array)).cast("B"))
    return about


@dataclass(frozen=True)
class ShardRun:
    """A shard's run in a sorted file: hashes uint64 [n], bounds int64 [n + 1] as places in the file."""

    path: str
    hashes: np.ndarray
    bounds: np.ndarray


def open_run(directory: str, about: SortedFile, shard: int) -> ShardRun:
    """Reads the index of a shard's run.

    Raises:
        UserError: the file is cut short.
    """
    first, last = about.cuts[shard], about.cuts[shard + 1]
    path = f"{directory}/{about.name}"
    hashes, bounds = np.empty(last - first, np.uint64), np.empty(last - first + 1, np.int64)
    with storage.open_read(path) as file:
        for array, at in (
            (hashes, about.size + 8 * first),
            (bounds, about.size + 8 * about.records + 8 * first),
        ):
            _read_at(file, at, array.view(np.uint8), path)
    return ShardRun(path, hashes, bounds)


def read_range(run: ShardRun, first: int, last: int) -> np.ndarray:
    """The bytes of a run's records first to last - 1: uint8."""
    data = np.empty(int(run.bounds[last] - run.bounds[first]), np.uint8)
    if len(data):
        with storage.open_read(run.path) as file:
            _read_at(file, int(run.bounds[first]), data, run.path)
    return data


def _read_at(file: Any, at: int, array: np.ndarray, path: str) -> None:
    file.seek(at)
    if storage.read_into(file, memoryview(array)) != len(array):
        raise UserError(f"work file {path} is cut short", "run again with --overwrite")


def is_whole(directory: str, about: SortedFile) -> bool:
    """Whether a file that an earlier run left is there with every byte: size, index checksum, each record's CRC."""
    path = f"{directory}/{about.name}"
    if storage.size_of(path) != about.file_size:
        return False
    with storage.open_read(path) as file:
        data = np.empty(about.file_size, np.uint8)
        _read_at(file, 0, data, path)
    frames = scan(data[: about.size])
    intact = frames.state == GOOD and len(frames.states) == about.records and not np.any(frames.states != GOOD)
    return bool(intact and zlib.crc32(data[about.size :]) == about.checksum)
