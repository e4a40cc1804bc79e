"""Where a record goes and in which order: a seeded hash of where it came from, never of what it holds.

A record's place is a 64-bit hash of (seed, source, offset). Shard s of S holds the hashes from s/S to (s + 1)/S of
the range, and a shard's order is the order of the hashes. So sorting by hash is all that shuffling takes, a shard
is one run of every sorted file, and workers, runner and timing have no say.
"""

import hashlib

import numpy as np

from shammie.jit import compiled, inlined


def source_key(name: str) -> int:
    """A source's 64-bit key: the first bytes of its name's sha256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


@inlined
def _mix(value):
    # the finalizer of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def _places(seed, keys, offsets, numbers, out):
    golden = np.uint64(0x9E3779B97F4A7C15)
    start = _mix(np.uint64(seed) + golden)
    for i in range(len(out)):
        value = _mix((start ^ keys[i]) + golden)
        value = _mix((value ^ np.uint64(offsets[i])) + golden)
        out[i] = _mix((value ^ np.uint64(numbers[i])) + golden)


def places(seed: int, keys: np.ndarray, offsets: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The 64-bit places of records.

    Args:
        seed: 0 or above.
        keys: uint64 [N], each record's source (`source_key`).
        offsets: int64 [N], each record's offset in its source.
        numbers: int64 [N], tells records of one offset apart; 0 where that is not wanted.

    Returns:
        uint64 [N].
    """
    out = np.empty(len(offsets), np.uint64)
    _places(seed, keys, offsets, numbers, out)
    return out


def order_of(hashes: np.ndarray) -> np.ndarray:
    """The stable order by hash: int64 [N]; equal hashes (pieces of one document) keep their order."""
    order = np.argsort(hashes)  # numpy's vectorised sort is not stable, but four times as fast
    ordered = hashes[order]
    if np.any(ordered[1:] == ordered[:-1]):
        return np.argsort(hashes, kind="stable")
    return order


def shard_borders(shards: int) -> np.ndarray:
    """The places at which shards 1 to S - 1 begin: uint64 [S - 1]."""
    return np.array([(shard << 64) // shards for shard in range(1, shards)], np.uint64)
