"""A codec as bytes: the magic of its kind, version, a JSON header, compressed arrays, a checksum. No pickle."""

import hashlib
import struct
import zlib
from typing import Any

import numpy as np

from shammie.errors import UserError
from shammie.files import canonical_json, json_object_of

MAGIC = b"\x89EQSTRM\n"
VERSION = 1
MOST_BYTES = 1 << 28
_HEAD = struct.Struct("<8sHI")
_CHECKSUM_BYTES = 32
_DTYPES = ("|u1", "<i2", "<i4", "<i8")
_CURE = "make one anew, or name another file"


def identity(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """sha256, in hex, of what an artefact holds; how it is compressed differs between versions of zlib."""
    found = hashlib.sha256(canonical_json(header).encode())
    for name, array in sorted(arrays.items()):
        found.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        found.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


def pack(header: dict[str, Any], arrays: dict[str, np.ndarray], magic: bytes = MAGIC) -> bytes:
    """The artefact of named arrays with a header of JSON values; `magic`, 8 bytes, tells its kind."""
    parts = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    parts = {name: array.astype(array.dtype.newbyteorder("<")) for name, array in parts.items()}
    about = [[name, array.dtype.str, list(array.shape)] for name, array in parts.items()]
    text = canonical_json({**header, "arrays": about}).encode()
    body = zlib.compress(b"".join(array.tobytes() for array in parts.values()), 9)
    data = _HEAD.pack(magic, VERSION, len(text)) + text + body
    return data + hashlib.sha256(data).digest()


def unpack(
    data: bytes, name: str, magic: bytes = MAGIC, kind: str = "stream codec"
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and arrays of an artefact.

    Args:
        data: what `pack` made.
        name: what to call it in errors.
        magic: of its kind.
        kind: what errors call that.

    Raises:
        UserError: no such codec, another version, or damaged.
    """
    if len(data) < _HEAD.size + _CHECKSUM_BYTES or data[:8] != magic:
        raise UserError(f"{name} is not a {kind}", _CURE)
    _, version, header_bytes = _HEAD.unpack_from(data)
    if version != VERSION:
        raise UserError(f"{name} is a {kind} of version {version}, this release reads {VERSION}", _CURE)
    if hashlib.sha256(data[:-_CHECKSUM_BYTES]).digest() != data[-_CHECKSUM_BYTES:]:
        raise UserError(f"{name} is damaged: its checksum does not match", "copy it again from where it was made")
    try:
        header = json_object_of(data[_HEAD.size : _HEAD.size + header_bytes])
        if not isinstance(header.get("notes"), dict | None):
            raise ValueError("what it notes is no JSON object")
        about = [(str(key), _dtype(dtype), tuple(map(_size, shape))) for key, dtype, shape in header.pop("arrays")]
        sizes = [dtype.itemsize * int(np.prod(shape, dtype=object)) for _, dtype, shape in about]
        if sum(sizes) > MOST_BYTES:
            raise ValueError("its arrays are too large")
        body = zlib.decompressobj().decompress(data[_HEAD.size + header_bytes : -_CHECKSUM_BYTES], sum(sizes) + 1)
        if len(body) != sum(sizes):
            raise ValueError("its arrays do not have the sizes of the header")
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        return header, {
            key: np.frombuffer(body[end - size : end], dtype).reshape(shape).astype(dtype.newbyteorder("="))
            for (key, dtype, shape), size, end in zip(about, sizes, ends, strict=True)
        }
    except (ValueError, KeyError, TypeError, OverflowError, zlib.error) as error:
        raise UserError(f"{name} is not a valid {kind}: {error}", _CURE) from error


def _dtype(kind: str) -> np.dtype[Any]:
    if kind not in _DTYPES:
        raise ValueError(f"arrays of {kind!r}")
    return np.dtype(kind)


def _size(size: int) -> int:
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"a size of {size!r}")
    return size
