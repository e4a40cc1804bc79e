import math
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.sandbox import protocol
from beam_jobs.sandbox.protocol import Closed, ForbiddenValue, dump, load, receive, send

keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
values = st.recursive(
    st.one_of(keys, st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(keys, inner), st.sets(keys, max_size=5)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, with the same types in all depths and the same order in dicts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, set):
        return one == other and {type(a) for a in one} == {type(a) for a in other}
    return one == other


@given(values)
def test_values_come_back_with_their_types(value: Any) -> None:
    assert same(load(dump(value)), value)


def test_values_that_json_alone_would_change() -> None:
    for value in (1, 1.0, True, -0.0, 10**5000, -(1 << 64), (1 << 64) - 1, math.inf, -math.inf, "\ud800", b"\xff", ()):
        assert same(load(dump(value)), value), value
    assert same(load(dump({(1, "a"): [(), [], {}, set()]})), {(1, "a"): [(), [], {}, set()]})
    assert same(load(dump({"t": [1]})), {"t": [1]})
    assert math.isnan(load(dump(math.nan)))
    assert not same(1, True)


class Text(str):
    """A str that says it equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Number(int):
    __class__ = int  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


@pytest.mark.parametrize(
    "value",
    [Text("a"), Number(1), [Number(1)], {"a": Text("b")}, {Text("a")}, object(), range(3), frozenset(), 1j, len, int],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_exactly_plain_is_refused(value: object) -> None:
    with pytest.raises(ForbiddenValue):
        dump(value)


def test_depth_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: list[Any] = []
    for _ in range(protocol.DEPTH - 1):
        deep = [deep]
    assert load(dump(deep)) == deep
    with pytest.raises(ForbiddenValue):
        dump([deep])
    deep.append(deep)
    with pytest.raises(ForbiddenValue):
        dump(deep)
    monkeypatch.setattr(protocol, "MESSAGE_BYTES", 10)
    with pytest.raises(ForbiddenValue, match="12 bytes"):
        dump("0123456789")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"\xff",
        b"{}",
        b'{"t":1}',
        b'{"t":[],"s":[]}',
        b'{"x":[]}',
        b'{"d":[[1]]}',
        b'{"d":[[[],1]]}',
        b'{"s":[[1]]}',
        b'{"i":1}',
        b'{"i":"g"}',
        b'{"b":"0"}',
        b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_bytes_that_are_nothing_are_refused(text: bytes) -> None:
    with pytest.raises(ForbiddenValue):
        load(text)


def test_messages_over_a_pipe() -> None:
    read, write = os.pipe()
    send(write, b"one")
    send(write, b"")
    assert (receive(read), receive(read)) == (b"one", b"")
    os.write(write, struct.pack("<I", 1 << 31))
    with pytest.raises(ForbiddenValue):
        receive(read)
    os.write(write, struct.pack("<I", 5) + b"half")
    os.close(write)
    with pytest.raises(Closed):
        receive(read)
    os.close(read)
