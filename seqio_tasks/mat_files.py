"""Numeric arrays of a MATLAB level 5 file, read so that a damaged or hostile one cannot harm.

SciPy's own reader reads the format in full, but a wrong byte can end the process (a segmentation fault of SciPy 1.17.1
that fuzzing found); this one reads real arrays alone, and makes room only for what is there.
A file is a header of 128 bytes and elements: a tag (type, bytes), data, zeros to a multiple of 8. A compressed one is a
zlib stream of an element; a matrix has four: flags, dimensions, name, data by columns (MathWorks, MAT-File Format).
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator

import numpy as np

HEADER_BYTES, HEAD_BYTES = 128, 1024  # of the file; of a matrix, in which its name must end
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
DTYPES = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
NUMERIC = range(6, 14)  # classes double to uint32
COMPLEX = 0x800  # a flag


def read_arrays(data: bytes, names: Collection[str], most_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of some names, each of the type that it is stored in; those that are not there are left out.

    Args:
        data: the file.
        names: of the variables.
        most_bytes: that one array may have.

    Raises:
        ValueError: what is wrong with the file. (zlib.error too.)
    """
    if len(data) < HEADER_BYTES:
        raise ValueError(f"{len(data)} bytes are no MATLAB file")
    if data[124:128] != b"\x00\x01IM":
        later = data[124:126] == b"\x00\x02"
        raise ValueError("it is of MATLAB 7.3" if later else "it is no MATLAB level 5 file, little-endian")
    found = {}
    for kind, start, stop in _elements(data, HEADER_BYTES):
        stream = zlib.decompressobj() if kind == COMPRESSED else None
        part = memoryview(data)[start:stop]
        head = stream.decompress(part, HEAD_BYTES) if stream else bytes(data[start - 8 : start - 8 + HEAD_BYTES])
        if len(head) < 8:
            raise ValueError("an element is cut short")
        inner, size = struct.unpack_from("<II", head)
        if inner != MATRIX:
            continue
        name, shape, place = _about(head)
        if name not in names:
            continue
        if size > most_bytes + HEAD_BYTES or math.prod(shape) > most_bytes:
            raise ValueError(f"{name} claims {max(size, math.prod(shape))} bytes, more than the {most_bytes} of room")
        if stream:
            # grows with what comes out, up to the size that its tag tells
            whole = head + stream.decompress(stream.unconsumed_tail, max(1, size + 8 - len(head)))
            if len(whole) != size + 8 or stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
                raise ValueError(f"{name} has not the {size} bytes that its tag tells of")
        else:
            whole = data[start - 8 : stop]
        found[name] = _numbers(whole, place, name, shape)
    return found


def _elements(data: bytes, place: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the data of each element from a place on."""
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError("a tag is cut short")
        kind, size = struct.unpack_from("<II", data, place)
        if kind >> 16:  # up to 4 bytes, in the tag itself
            kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:
            start, after = place + 8, place + 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError(f"cut short: {len(data) - start} bytes of {size}")
        yield kind, start, start + size
        place = after


def _about(head: bytes) -> tuple[str, tuple[int, ...], int]:
    """A matrix's name and dimensions, and where its data's tag is."""
    parts = _elements(head, 8)
    try:
        flags, dimensions, name = (next(parts) for _ in range(3))
    except StopIteration:
        raise ValueError("a matrix is cut short") from None
    if (flags[0], dimensions[0], name[0]) != (UINT32, INT32, INT8) or flags[2] - flags[1] != 8:
        raise ValueError("a matrix does not begin with flags, dimensions and name")
    (word,) = struct.unpack_from("<I", head, flags[1])
    shape = tuple(np.frombuffer(head[dimensions[1] : dimensions[2]], "<i4").tolist())
    text = head[name[1] : name[2]].decode("ascii", "replace")
    if word & 0xFF not in NUMERIC or word & COMPLEX:
        raise ValueError(f"{text} is no array of real numbers")
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"{text} has dimensions {list(shape)}")
    small = name[1] % 8 == 4
    return text, shape, name[1] + 4 if small else name[1] + -(-(name[2] - name[1]) // 8) * 8


def _numbers(whole: bytes, place: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    kind, start, stop = next(_elements(whole, place), (0, 0, 0))
    if kind not in DTYPES:
        raise ValueError(f"{name} has data of type {kind}")
    dtype = np.dtype(DTYPES[kind])
    if stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {stop - start} bytes of data, not {list(shape)} x {dtype.itemsize}")
    return np.frombuffer(whole, dtype, math.prod(shape), start).reshape(shape, order="F")
