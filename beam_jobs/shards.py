"""Shards: sorted runs in, one file out, in the order of the hashes, whole or not at all, with its sha256."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from beam_jobs import storage
from beam_jobs.ahead import Threads
from beam_jobs.ordering import order_of
from beam_jobs.sorted_runs import ShardRun, SortedRun, open_run, read_ranges
from beam_jobs.tfrecord import FOOTER_BYTES, HEADER_BYTES
from shammie.errors import UserError
from shammie.files import is_local, naming
from shammie.jit import compiled

SHARD_FORMATS = {"tfrecord": "tfrecord", "array_record": "array_record"}
SLICE_BYTES = 4 << 20
# every option that could change the bytes is fixed here, whatever the library's defaults become
ARRAY_RECORD_OPTIONS = "group_size:1,transpose:false,pad_to_block_boundary:false,zstd:3,window_log:20,max_parallelism:1"


@dataclass(frozen=True)
class Shard:
    """A finished shard: its name, sha256 in hex, bytes and records."""

    name: str
    sha256: str
    size: int
    records: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def shard_name(split: str, shard_format: str, shard: int, shards: int) -> str:
    """Such as train.tfrecord-00003-of-00016, which SeqIO knows."""
    return f"{split}.{SHARD_FORMATS[shard_format]}-{shard:05d}-of-{shards:05d}"


@compiled
def _gather(data, starts, sizes, order, out):
    at = np.int64(0)
    for row in range(len(order)):
        start, size = starts[order[row]], sizes[order[row]]
        out[at : at + size] = data[start : start + size]
        at += size


def slices(runs: Sequence[ShardRun], slice_bytes: int = SLICE_BYTES) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Merges runs: yields uint8 bytes and int64 [n] record sizes, in the order of (hash, run, place in the run).

    A slice holds one range of hashes, about `slice_bytes` or a single hash's records.
    """
    runs = [run for run in runs if len(run.hashes)]
    if not runs:
        return
    total = sum(int(run.bounds[-1] - run.bounds[0]) for run in runs)
    hashes = np.sort(np.concatenate([run.hashes for run in runs]))
    parts = -(-total // slice_bytes)
    borders = hashes[[len(hashes) * part // parts for part in range(1, parts)]] if parts > 1 else hashes[:0]
    del hashes
    cuts = [np.concatenate([[0], np.searchsorted(run.hashes, borders), [len(run.hashes)]]) for run in runs]
    for part in range(parts):
        spans = [(run, int(cut[part]), int(cut[part + 1])) for run, cut in zip(runs, cuts, strict=True)]
        spans = [span for span in spans if span[2] > span[1]]
        if not spans:
            continue
        data = read_ranges(spans)
        sizes = np.concatenate([np.diff(run.bounds[first : last + 1]) for run, first, last in spans])
        order = order_of(np.concatenate([run.hashes[first:last] for run, first, last in spans]))
        out = np.empty(len(data), np.uint8)
        _gather(data, np.cumsum(sizes) - sizes, sizes, order, out)
        yield out, sizes[order]


def write_shard(
    sorted_runs: Sequence[SortedRun],
    *,
    work: str,
    output: str,
    shard: int,
    shards: int,
    split: str,
    shard_format: str,
    threads: Threads,
) -> Shard:
    """Writes one shard.

    Args:
        sorted_runs: what all units left, in the order of the units.
        work: the folder that holds them.
        output: the folder for the shard.
        shard: 0 to shards - 1.
        shards: how many there are.
        split: such as train.
        shard_format: a key of SHARD_FORMATS; the records are TFRecord frames, and an ArrayRecord gets their content.
        threads: they read ahead and write behind.
    """
    name = shard_name(split, shard_format, shard, shards)
    runs = [open_run(work, about, shard) for about in sorted_runs if about.cuts[shard + 1] > about.cuts[shard]]
    write = _write_tfrecord if shard_format == "tfrecord" else _write_array_record
    return write(f"{output}/{name}", name, runs, threads)


def _write_tfrecord(path: str, name: str, runs: Sequence[ShardRun], threads: Threads) -> Shard:
    digest, size, records = hashlib.sha256(), 0, 0
    with storage.writing(path) as file, threads.write_behind() as behind:
        for data, sizes in threads.read_ahead(slices(runs)):
            behind(file.write, data.data)
            digest.update(data.data)
            size += len(data)
            records += len(sizes)
    return Shard(name, digest.hexdigest(), size, records)


def _write_array_record(path: str, name: str, runs: Sequence[ShardRun], threads: Threads) -> Shard:
    from array_record.python.array_record_module import ArrayRecordWriter

    # the library writes to local paths alone, and does not say when the disk is full: hence the check below
    folder = os.path.dirname(path) if is_local(path) else None
    records = 0
    with naming(path):
        beside_it = tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder)
    with beside_it as scratch:
        beside = f"{scratch}/shard"
        writer = ArrayRecordWriter(beside, ARRAY_RECORD_OPTIONS)
        for data, sizes in slices(runs):
            ends = np.cumsum(sizes).tolist()
            start = 0
            content = data.tobytes()
            for end in ends:
                writer.write(content[start + HEADER_BYTES : end - FOOTER_BYTES])
                start = end
            records += len(sizes)
        good = writer.ok()
        writer.close()
        if not good:
            raise UserError(f"ArrayRecord {path} could not be written", "check the disk's room and the file's place")
        digest, size = hashlib.sha256(), 0
        with open(beside, "rb") as reading, storage.writing(path) as file:
            while chunk := reading.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    return Shard(name, digest.hexdigest(), size, records)
