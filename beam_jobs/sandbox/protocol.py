"""Plain data between two processes that do not trust each other: no pickle, no eval, types kept exactly.

A message is 4 bytes of length, then JSON. None, bool, int, float, str and list are themselves there (Python's JSON
reads a float as it was written, nan and infinities too); an object with one key stands for the rest: {"t": [...]} a
tuple, {"d": [[key, value], ...]} a dict, in its order, {"s": [...]} a set, {"b": hex} bytes, {"i": hex} a large int.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

MESSAGE_BYTES = 16 << 20
DEPTH = 100
_SMALL = 1 << 64
_SCALARS = frozenset((type(None), bool, float, str))


class ForbiddenValue(ValueError):
    """A value that may not cross: not plain data, too deep or too large."""


class Closed(ConnectionError):
    """The other side is gone."""


def dump(value: Any) -> bytes:
    """A value as bytes.

    Raises:
        ForbiddenValue: it, or something in it, is not exactly of one of the types, or it is too large or too deep.
    """
    try:
        text = json.dumps(_tagged(value, DEPTH), separators=(",", ":")).encode()
    except ForbiddenValue:
        raise
    except (ValueError, TypeError, RecursionError, RuntimeError) as error:  # changed, or deepened, meanwhile
        raise ForbiddenValue(str(error)) from error
    if len(text) > MESSAGE_BYTES:
        raise ForbiddenValue(f"{len(text)} bytes")
    return text


def _tagged(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"i": hex(value)}
    if kind is bytes:
        return {"b": value.hex()}
    if depth == 0:
        raise ForbiddenValue(f"deeper than {DEPTH}")
    if kind is list or kind is tuple:
        plain = value if _SCALARS.issuperset(map(type, value)) else [_tagged(one, depth - 1) for one in value]
        return plain if kind is list else {"t": plain}
    if kind is dict:
        return {"d": [[_tagged(key, depth - 1), _tagged(one, depth - 1)] for key, one in value.items()]}
    if kind is set:
        return {"s": [_tagged(one, depth - 1) for one in value]}
    raise ForbiddenValue(f"a {kind.__name__}")


def load(text: bytes) -> Any:
    """The value that `dump` made bytes of; the bytes may come from anyone.

    Raises:
        ForbiddenValue: they are nothing that `dump` makes.
    """
    try:
        return json.loads(text, object_hook=_untagged)
    except (ValueError, TypeError, RecursionError) as error:
        raise ForbiddenValue(str(error)) from error


def _untagged(tagged: dict[str, Any]) -> Any:
    ((tag, value),) = tagged.items()
    if tag == "i" and type(value) is str:
        return int(value, 16)
    if tag == "b" and type(value) is str:
        return bytes.fromhex(value)
    if type(value) is list:
        if tag == "t":
            return tuple(value)
        if tag == "d":
            return {key: one for key, one in value}
        if tag == "s":
            return set(value)
    raise ForbiddenValue(f"tag {tag!r:.20}")


def send(fd: int, payload: bytes, write: Callable[[int, Any], int] = os.write) -> None:
    """Writes one message.

    Raises:
        Closed: nobody reads.
    """
    view = memoryview(struct.pack("<I", len(payload)) + payload)
    try:
        while view:
            view = view[write(fd, view) :]
    except OSError as error:
        raise Closed(str(error)) from error


def receive(fd: int, read: Callable[[int, int], bytes] = os.read) -> bytes:
    """Reads one message.

    Raises:
        Closed: nobody writes any more.
        ForbiddenValue: it is larger than any may be.
    """
    (size,) = struct.unpack("<I", _exactly(fd, 4, read))
    if size > MESSAGE_BYTES:
        raise ForbiddenValue(f"{size} bytes")
    return _exactly(fd, size, read)


def _exactly(fd: int, size: int, read: Callable[[int, int], bytes]) -> bytes:
    parts = []
    while size:
        try:
            part = read(fd, min(size, 1 << 20))
        except OSError as error:
            raise Closed(str(error)) from error
        if not part:
            raise Closed("end of file")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
