"""Bounded decompression: what is right comes out whole, and a bomb is stopped while it is small."""

import gzip
import resource
import tracemalloc
import zlib

import numpy as np
import pytest

from shammie.inflate import FREE_BYTES, MOST_RATIO, gunzip, is_bomb

NOISE = np.random.default_rng(0).bytes(3 << 20)
WORDS = b"the same words again and again " * 20_000


@pytest.mark.parametrize("data", [b"", b"x", WORDS, NOISE], ids=["empty", "byte", "words", "noise"])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_whole_members_come_back(data: bytes, level: int) -> None:
    packed = gzip.compress(data, level, mtime=0)
    assert gunzip(packed) == data
    assert gunzip(packed * 2 + bytes(7)) == data * 2


@pytest.mark.parametrize("cut", [1, 4, 8, 100, -1])
def test_what_is_cut_or_damaged_is_refused(cut: int) -> None:
    packed = gzip.compress(WORDS, mtime=0)
    with pytest.raises(ValueError, match=r"cut short|incorrect"):
        gunzip(packed[:-cut] if cut > 0 else packed[:50] + bytes([packed[50] ^ 255]) + packed[51:-9] + bytes(9))


def test_a_limit_is_kept_to_the_byte() -> None:
    packed = gzip.compress(WORDS, mtime=0)
    assert gunzip(packed, len(WORDS)) == WORDS
    with pytest.raises(ValueError, match=f"more than {len(WORDS) - 1} bytes"):
        gunzip(packed, len(WORDS) - 1)


def test_a_bomb_is_stopped_while_it_is_small() -> None:
    """Of 1 GiB in 1 MB no more is made than what is free."""
    packing = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packing.compress(bytes(1 << 24)) for _ in range(64)) + packing.flush()
    assert len(bomb) < 1_100_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"more than {MOST_RATIO} times its size"):
        gunzip(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * FREE_BYTES


def test_many_members_take_no_more_time_than_their_bytes() -> None:
    """Each end of a member copies what zlib was handed behind it: a megabyte at a time would take minutes."""
    packed = gzip.compress(b"", mtime=0) * 200_000
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert gunzip(packed) == b""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < 5


def test_what_is_a_bomb() -> None:
    assert not is_bomb(FREE_BYTES, 1)
    assert is_bomb(FREE_BYTES + 1, 1)
    assert not is_bomb(MOST_RATIO << 30, 1 << 30)
    assert is_bomb((MOST_RATIO << 30) + 1, 1 << 30)
