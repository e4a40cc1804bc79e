"""Hostile inputs made of valid ones: bytes and JSON values with what breaks parsers, all drawn from one seed."""

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MOST_BYTES = 1 << 16  # an input does not grow beyond: speed finds more than size
_INTEGERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 1 << 15, (1 << 16) - 1, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
             1 << 32, 1 << 40, 1 << 53, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
_NUMBERS = (
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"4294967296",
    b"1000000000000",
    b"9" * 400,
    b"9" * 5000,
    b"1.5",
)


def deep(depth: int) -> Any:
    """A list in a list, so many times."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


_VALUES: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: 0, lambda: -1, lambda: 1, lambda: 3, lambda: 1 << 31, lambda: 1 << 40,
    lambda: 1 << 63, lambda: 10**40, lambda: 10**400, lambda: 1.5, lambda: 1e308, lambda: float("nan"),
    lambda: float("inf"), lambda: "", lambda: "x", lambda: "x" * 5000, lambda: "\x00", lambda: "\ud800",
    lambda: "../../x", lambda: "/etc/passwd", lambda: "\x1b[31m\n", lambda: [], lambda: [[]], lambda: {},
    lambda: {"x": {}}, lambda: [1, "x", None], lambda: deep(200), lambda: deep(900),
)  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """One to eight changes of an input's bytes.

    Args:
        data: the input.
        others: inputs that parts are taken from.
        words: byte strings that mean something to the parser.
        random: all draws.
    """
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 2, 4, 8))):
        _change(out, others, words, random)
        del out[MOST_BYTES:]
    return bytes(out)


def _change(out: bytearray, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> None:
    at = random.randrange(len(out) + 1)
    size = min(random.choice((1, 2, 4, 8, 16, 64, 1024)), len(out) - at)
    kind = random.randrange(10)
    if kind == 0 and at < len(out):
        out[at] ^= 1 << random.randrange(8)
    elif kind == 1:
        out[at : at + size] = random.randbytes(size)
    elif kind == 2:
        del out[at : at + size]
    elif kind == 3:
        del out[at:]
    elif kind == 4:
        out[at:at] = out[at : at + size] * random.choice((1, 2, 50))
    elif kind == 5:
        out[at:at] = random.randbytes(random.choice((1, 4, 16)))
    elif kind == 6:  # a length field
        wide = random.choice((1, 2, 4, 8))
        value = (random.choice(_INTEGERS) + random.choice((-1, 0, 0, 1))) % (1 << (8 * wide))
        out[at : at + wide] = value.to_bytes(wide, random.choice(("little", "big")))
    elif kind == 7 and words:
        out[at : at + random.choice((0, size))] = random.choice(words)
    elif kind == 8 and others:
        other = random.choice(others)
        start = random.randrange(len(other) + 1)
        out[at : at + random.choice((0, size))] = other[start : start + random.choice((4, 16, 256, 4096))]
    elif numbers := list(_NUMBER.finditer(out)):
        one = random.choice(numbers)
        out[one.start() : one.end()] = random.choice(_NUMBERS)


def mutated_json(value: Any, random: Random) -> Any:
    """A JSON value, one to three of whose parts have become something else, gone, or come twice."""
    for _ in range(random.choice((1, 1, 2, 3))):
        value = _changed(value, random)
    return value


def _changed(value: Any, random: Random) -> Any:
    inside = isinstance(value, dict | list) and len(value) > 0
    if not inside or random.random() < 0.15:
        return random.choice(_VALUES)()
    if isinstance(value, list):
        at, copy = random.randrange(len(value)), list(value)
        kind = random.randrange(6)
        if kind == 0:
            del copy[at]
        elif kind == 1:
            copy[at:at] = copy[at : at + 1] * random.choice((1, 2, 30))
        else:
            copy[at] = _changed(copy[at], random)
        return copy
    key = random.choice(list(value))
    copy = dict(value)
    kind = random.randrange(6)
    if kind == 0:
        del copy[key]
    elif kind == 1:
        copy[random.choice(("", "x", "__class__", key + "x"))] = copy.pop(key)
    else:
        copy[key] = _changed(copy[key], random)
    return copy


def json_bytes(value: Any) -> bytes:
    """A value as JSON, or as near as its text comes to it; of one that is too deep the brackets."""
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"[" * 3000 + b"]" * 3000


def mutated_json_bytes(data: bytes, random: Random) -> bytes:
    """JSON bytes with their value changed; bytes that are none are left as they are."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return json_bytes(mutated_json(value, random))
