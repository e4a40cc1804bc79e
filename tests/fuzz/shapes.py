"""Changes inside what checksums and compression guard: headers, bodies and arrays of our own files."""

import hashlib
import json
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import flax.serialization
import numpy as np

from tests.fuzz.mutation import json_bytes, mutated, mutated_json, mutated_json_bytes

HEAD = struct.Struct("<8sHI")  # of codecs: magic, version, bytes of the header
CHECKSUM_BYTES = 32


@cache
def folder() -> Path:
    """A folder of this process, in memory where there is such."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="shammie-fuzz-", dir=memory if memory.is_dir() else None))


def file_of(data: bytes, name: str) -> str:
    """A file with these bytes."""
    path = folder() / name
    path.write_bytes(data)
    return str(path)


@cache
def _bomb() -> bytes:
    return zlib.compress(bytes(1 << 28), 9)


def sealed_codec(data: bytes) -> bytes:
    """A codec with a checksum that is right."""
    return data[:-CHECKSUM_BYTES] + hashlib.sha256(data[:-CHECKSUM_BYTES]).digest()


def changed_codec(data: bytes, random: Random) -> bytes:
    """A codec with another header or body, whole otherwise."""
    try:
        magic, version, size = HEAD.unpack_from(data)
        header, body = data[HEAD.size : HEAD.size + size], zlib.decompress(data[HEAD.size + size : -CHECKSUM_BYTES])
    except (struct.error, zlib.error):
        return sealed_codec(data)
    kind = random.randrange(8)
    if kind < 4:
        header = mutated_json_bytes(header, random)
    elif kind < 7:
        body = mutated(body, [], [], random) + body[1 << 16 :]
    else:
        return sealed_codec(HEAD.pack(magic, version, len(header)) + header + _bomb() + bytes(CHECKSUM_BYTES))
    return sealed_codec(
        HEAD.pack(magic, version, len(header)) + header + zlib.compress(body, 1) + bytes(CHECKSUM_BYTES)
    )


def sealed_line(data: bytes) -> bytes:
    """A line of JSON and a body, whose sha256 the line tells of, put right."""
    line, _, body = data.partition(b"\n")
    try:
        header = json.loads(line)
        header["sha256"] = hashlib.sha256(body).hexdigest()
    except (ValueError, TypeError, RecursionError):
        return data
    return json_bytes(header) + b"\n" + body


def changed_line(data: bytes, random: Random) -> bytes:
    """A line of JSON with arrays in MessagePack behind it: another header or other arrays, the sha256 right."""
    line, _, body = data.partition(b"\n")
    if random.randrange(2):
        try:
            header = json.loads(line)
        except (ValueError, RecursionError):
            return data
        header = mutated_json(header, random)
        if isinstance(header, dict) and "sha256" in header:
            header["sha256"] = hashlib.sha256(body).hexdigest()
        return json_bytes(header) + b"\n" + body
    return sealed_line(line + b"\n" + changed_arrays(body, random))


def changed_arrays(body: bytes, random: Random) -> bytes:
    """MessagePack of a tree of arrays with something else in one place."""
    try:
        tree: Any = flax.serialization.msgpack_restore(body)
        return flax.serialization.msgpack_serialize(_changed_tree(tree, random))
    except Exception:  # MessagePack raises many kinds
        return mutated(body, [], [], random)


def _changed_tree(tree: Any, random: Random) -> Any:
    if isinstance(tree, dict) and tree and random.random() < 0.85:
        key, copy = random.choice(list(tree)), dict(tree)
        kind = random.randrange(6)
        if kind == 0:
            del copy[key]
        elif kind == 1:
            copy[random.choice(("", "x", "0", "a/b"))] = copy.pop(key)
        else:
            copy[key] = _changed_tree(copy[key], random)
        return copy
    array = np.asarray(tree) if isinstance(tree, np.ndarray) else np.zeros(3, np.float32)
    return random.choice(
        (
            lambda: array[:0], lambda: array[None], lambda: array.astype(np.float64), lambda: array.astype(np.int8),
            lambda: array.astype(np.complex64), lambda: array.reshape(-1), lambda: array.T.copy(), lambda: array > 0,
            lambda: np.full_like(array, np.nan), lambda: np.float32(1), lambda: 7, lambda: "x", lambda: b"x",
            lambda: {}, lambda: {"x": array}, lambda: [array], lambda: np.zeros((0, 1 << 40), np.int8), lambda: 1j,
            lambda: {"__msgpack_chunked_array__": True, "shape": (1 << 40,), "chunks": {"0": array}},
        )
    )()  # fmt: skip
