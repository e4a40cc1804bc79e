"""Sorted runs: what a unit leaves for the shards. TFRecord frames in the order of their hashes, found by hash range.

A unit appends one run per batch of documents to its file. A shard later reads one slice of each, so that a shuffle of
any size takes no more memory than a batch here and a slice there. A run, little-endian: the records' bytes, u64
hashes [N], i64 bounds [N + 1].
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import IO, Any

import numpy as np

from beam_jobs import storage
from beam_jobs.ordering import shard_borders
from beam_jobs.tfrecord import GOOD, scan
from shammie.errors import UserError


@dataclass(frozen=True)
class SortedRun:
    """What is known of a run.

    Attributes:
        name: its file's name in the work folder.
        start: the byte at which it begins.
        records: how many.
        size: bytes of all records.
        checksum: CRC-32 of hashes and bounds.
        cuts: for shards 0 to S, the first record of each, and the number of records at the end.
    """

    name: str
    start: int
    records: int
    size: int
    checksum: int
    cuts: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The byte at which it ends."""
        return self.start + self.size + 8 * self.records + 8 * (self.records + 1)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "SortedRun":
        """The inverse of dataclasses.asdict after a trip through JSON."""
        return cls(**{**value, "cuts": tuple(value["cuts"])})


def append_run(
    file: IO[bytes], name: str, start: int, *, hashes: np.ndarray, bounds: np.ndarray, data: np.ndarray, shards: int
) -> SortedRun:
    """Writes records that are in the order of their hashes.

    Args:
        file: the open file.
        name: its name in the work folder.
        start: how many bytes it holds.
        hashes: uint64 [N], rising.
        bounds: int64 [N + 1], record r is data[bounds[r] : bounds[r + 1]].
        data: uint8.
        shards: how many shards the records go to.
    """
    cuts = np.concatenate([[0], np.searchsorted(hashes, shard_borders(shards)), [len(hashes)]])
    for array in (data, hashes, bounds):
        file.write(np.ascontiguousarray(array).view(np.uint8).data)
    checksum = zlib.crc32(bounds.tobytes(), zlib.crc32(hashes.tobytes()))
    return SortedRun(name, start, len(hashes), len(data), checksum, tuple(cuts.tolist()))


@dataclass(frozen=True)
class ShardRun:
    """A shard's part of a run: hashes uint64 [n], bounds int64 [n + 1] as places in the file."""

    path: str
    hashes: np.ndarray
    bounds: np.ndarray


def open_run(directory: str, about: SortedRun, shard: int) -> ShardRun:
    """Reads the index of a shard's part of a run.

    Raises:
        UserError: the file is cut short.
    """
    first, last = about.cuts[shard], about.cuts[shard + 1]
    path = f"{directory}/{about.name}"
    hashes, bounds = np.empty(last - first, np.uint64), np.empty(last - first + 1, np.int64)
    with storage.open_read(path) as file:
        for array, at in (
            (hashes, about.start + about.size + 8 * first),
            (bounds, about.start + about.size + 8 * about.records + 8 * first),
        ):
            _read_at(file, at, array.view(np.uint8), path)
    return ShardRun(path, hashes, bounds + about.start)


def read_ranges(spans: Sequence[tuple[ShardRun, int, int]]) -> np.ndarray:
    """The bytes of records first to last - 1 of each (run, first, last), joined: uint8; each file is opened once."""
    sizes = [int(run.bounds[last] - run.bounds[first]) for run, first, last in spans]
    data, at = np.empty(sum(sizes), np.uint8), 0
    for path, group in groupby(zip(spans, sizes, strict=True), key=lambda one: one[0][0].path):
        with storage.open_read(path) as file:
            for (run, first, _), size in group:
                _read_at(file, int(run.bounds[first]), data[at : at + size], path)
                at += size
    return data


def _read_at(file: Any, at: int, array: np.ndarray, path: str) -> None:
    file.seek(at)
    if storage.read_into(file, array.data) != len(array):
        raise UserError(f"work file {path} is cut short", "run again with --overwrite")


def are_whole(directory: str, runs: Sequence[SortedRun]) -> bool:
    """Whether a file that an earlier process left has every byte of its runs: sizes, index checksums, records' CRCs."""
    if not runs:
        return True
    path = f"{directory}/{runs[0].name}"
    if storage.size_of(path) != runs[-1].stop:
        return False
    with storage.open_read(path) as file:
        for about in runs:
            data = np.empty(about.stop - about.start, np.uint8)
            _read_at(file, about.start, data, path)
            frames = scan(data[: about.size])
            if frames.state != GOOD or len(frames.states) != about.records or np.any(frames.states != GOOD):
                return False
            if zlib.crc32(data[about.size :].data) != about.checksum:
                return False
    return True
