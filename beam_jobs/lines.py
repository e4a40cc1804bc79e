"""Lines of a byte range or a stream, found and joined without a Python step per line.

A line belongs to the range in which it starts, so any cut of a file into ranges gives every line exactly once.
"""

from collections.abc import Callable, Iterator

import numpy as np

from beam_jobs.records import Documents, split_long
from shammie.jit import compiled

NEWLINE = 10
Read = Callable[[int], np.ndarray]


@compiled
def _count(data, wanted):
    count = np.int64(0)
    for value in data:
        count += np.int64(value == wanted)
    return count


@compiled
def _find(data, wanted, out):
    count, blocks = 0, len(data) // 64
    for block in range(blocks):
        start = block * 64
        hits = np.uint8(0)
        for k in range(64):  # a fixed count, so that it becomes a few vector instructions
            hits |= np.uint8(data[start + k] == wanted)
        if hits:
            for at in range(start, start + 64):
                out[count] = at
                count += data[at] == wanted
    for at in range(blocks * 64, len(data)):
        if data[at] == wanted:
            out[count] = at
            count += 1


@compiled
def _join(data, starts, ends, out, bounds):
    at = np.int64(0)
    for line in range(len(starts)):
        bounds[line] = at
        start, size = starts[line], ends[line] - starts[line]
        out[at : at + size] = data[start : start + size]
        at += size
    bounds[len(starts)] = at


def positions(data: np.ndarray, byte: int = NEWLINE) -> np.ndarray:
    """Where a byte occurs in a uint8 array: int64 [N]."""
    count = _count(data, byte)
    out = np.empty(count + 1, np.int64)  # the search writes one place ahead
    _find(data, byte, out)
    return out[:count]


def gather(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins data[starts[i] : ends[i]]: uint8 [bytes], and int64 [N + 1] where each begins."""
    out = np.empty(int((ends - starts).sum()), np.uint8)
    bounds = np.empty(len(starts) + 1, np.int64)
    _join(data, starts, ends, out, bounds)
    return out, bounds


def line_documents(
    read: Read, *, start: int, stop: int | None, source: int, block_bytes: int, limit: int
) -> Iterator[Documents]:
    """The lines that start in a range, without their newline, as batches of documents.

    Args:
        read: gives up to so many next bytes as a uint8 array, fewer only at the end; it begins at `start - 1` (at 0
            where start is 0), so that the first line's start shows.
        start: the range's first byte.
        stop: its end, or None for a stream that is read to its end.
        source: the source's place in the plan.
        block_bytes: how much is read at a time.
        limit: the longest piece of a line in bytes.

    Yields:
        Batches in file order; a line over the limit comes in numbered pieces.
    """
    at = start - 1 if start else 0
    skipping = start > 0  # the bytes up to the first newline belong to a line of an earlier range
    pending, pending_at, piece = np.empty(0, np.uint8), at, 0
    line_at = at  # where the pending line starts; its first pieces may be gone already
    extra = 1 << 16
    while True:
        if stop is None or at < stop:
            block = read(block_bytes if stop is None else min(block_bytes, stop - at))
        else:
            block = read(extra)
            extra = min(4 * extra, block_bytes)
        over = not len(block)
        at += len(block)
        if over and (skipping or not (len(pending) or piece)):
            return
        data = np.concatenate([pending, block]) if len(pending) else block
        newlines = positions(data[len(pending) :]) + len(pending)
        begin = 0
        if skipping:
            if not len(newlines):
                if stop is not None and at >= stop:
                    return
                pending_at = at
                continue
            begin, newlines = int(newlines[0]) + 1, newlines[1:]
            skipping = False
            line_at = pending_at + begin
            if stop is not None and line_at >= stop:
                return
        if stop is not None:
            # lines that start at `stop` or later are the next range's
            inside = int(np.searchsorted(newlines + (pending_at + 1), stop)) + 1
            newlines = newlines[:inside]
        ends = np.append(newlines, len(data)) if over and (begin < len(data) or piece) else newlines
        starts = np.append(begin, ends[:-1] + 1) if len(ends) else ends
        if len(ends):
            yield _cut(data, starts, ends, (pending_at, line_at, piece, source, limit))
            begin, piece = int(ends[-1]) + 1, 0
            line_at = pending_at + begin
        if over or (stop is not None and line_at >= stop):
            return
        pending, pending_at = data[begin:], pending_at + begin
        if len(pending) > limit:
            whole = (len(pending) - 1) // limit * limit
            cuts = np.arange(0, whole, limit)
            bounds = np.append(cuts, whole).astype(np.int64)
            count = len(cuts)
            yield Documents(
                pending[:whole],
                bounds,
                np.full(count, source, np.int32),
                np.full(count, line_at, np.int64),
                piece + np.arange(count),
                np.zeros(count, bool),
            )
            pending, pending_at, piece = pending[whole:].copy(), pending_at + whole, piece + count


def _cut(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, where: tuple[int, int, int, int, int]) -> Documents:
    base, line_at, piece, source, limit = where
    text, bounds = gather(data, starts, ends)
    count = len(starts)
    offsets = starts + base
    offsets[0] = line_at  # the first line may have begun in an earlier block
    pieces = np.zeros(count, np.int64)
    pieces[0] = piece
    return split_long(
        Documents(text, bounds, np.full(count, source, np.int32), offsets, pieces, np.ones(count, bool)), limit
    )
