import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.lines import gather, line_documents, positions
from beam_jobs.records import documents_of, split_long, without_empty

some_text = st.binary(max_size=300) | st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"x" * 70]), max_size=40).map(
    b"".join
)


def lines_of(data: bytes, unit: int | None, *, block: int, limit: int) -> list[tuple[int, bytes]]:
    """(offset, line) by the reader under test, unit by unit, continuations joined."""
    found, pieces = [], []
    ranges = [(0, None)] if unit is None else [(at, min(at + unit, len(data))) for at in range(0, len(data), unit)]
    for start, stop in ranges:
        file = io.BytesIO(data)
        file.seek(max(0, start - 1))
        read = lambda count, file=file: np.frombuffer(file.read(count), np.uint8)  # noqa: E731
        for batch in line_documents(read, start=start, stop=stop, source=0, block_bytes=block, limit=limit):
            assert batch.bounds[-1] == len(batch.text)
            for row, offset in enumerate(batch.offsets):
                piece = batch.text[batch.bounds[row] : batch.bounds[row + 1]].tobytes()
                assert batch.pieces[row] == len(pieces)
                assert len(piece) <= limit
                assert batch.last[row] or len(piece) == limit
                pieces.append(piece)
                if batch.last[row]:
                    found.append((int(offset), b"".join(pieces)))
                    pieces = []
    assert not pieces
    return found


def expected(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    for line in data.split(b"\n"):
        found.append((at, line))
        at += len(line) + 1
    return found[:-1] if not data or data.endswith(b"\n") else found


@settings(max_examples=300, deadline=None)
@given(some_text, st.none() | st.integers(1, 400), st.integers(1, 500), st.integers(1, 100))
def test_any_cut_gives_each_line_exactly_once(data, unit, block, limit):
    assert lines_of(data, unit, block=block, limit=limit) == expected(data)


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(0, 255))
def test_positions(data, byte):
    assert positions(np.frombuffer(data, np.uint8), byte).tolist() == [i for i, b in enumerate(data) if b == byte]


def test_gather():
    text, bounds = gather(np.frombuffer(b"hello world", np.uint8), np.array([6, 0, 3]), np.array([11, 0, 5]))
    assert text.tobytes() == b"worldlo"
    assert bounds.tolist() == [0, 5, 5, 7]


def test_long_documents_become_numbered_pieces():
    cut = split_long(documents_of([b"abcdefg", b"", b"abc", b"abcd"], source=5, offsets=[0, 10, 20, 30]), 3)
    pieces = [cut.text[a:b].tobytes() for a, b in zip(cut.bounds, cut.bounds[1:], strict=False)]
    assert pieces == [b"abc", b"def", b"g", b"", b"abc", b"abc", b"d"]
    assert cut.offsets.tolist() == [0, 0, 0, 10, 20, 30, 30]
    assert cut.pieces.tolist() == [0, 1, 2, 0, 0, 0, 1]
    assert cut.last.tolist() == [False, False, True, True, True, False, True]


def test_empty_documents_are_left_out_and_counted():
    kept, empty = without_empty(documents_of([b"", b"a", b"", b"b", b""], source=0, offsets=[0, 1, 2, 3, 4]))
    assert empty == 3
    assert kept.offsets.tolist() == [1, 3]
    assert [kept.text[a:b].tobytes() for a, b in zip(kept.bounds, kept.bounds[1:], strict=False)] == [b"a", b"b"]
