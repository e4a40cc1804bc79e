"""Arrays of .npz files from outside, and streams read piece by piece: room is made only for what is there.

An .npz file is a zip archive of .npy files. What a header claims, of the archive or of an array, is held against the
bytes before it is believed, no pickle is read, and nothing is written to the disk.
"""

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from shammie.errors import UserError

MOST_BYTES = 2 << 30  # of one file's images; SVHN's extra split has 1.6e9
MOST_RATIO = 1032  # no stream of deflate is longer than so many times its compressed size
CHUNK_BYTES = 1 << 20
CURE = "download it again from where the data was released"
DAMAGED = (
    OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError,
    KeyError, struct.error, tokenize.TokenError, SyntaxError, TypeError, AttributeError, OverflowError,
)  # fmt: skip


def damaged(path: str, why: object) -> UserError:
    """The error of a file that cannot be read, in a line."""
    return UserError(f"{path} is damaged: {' '.join(str(why).split())[:160]}", CURE)


def read_exactly(stream: IO[bytes], size: int, path: str) -> bytes:
    """So many bytes, in pieces, so that memory grows with what is there and not with what is claimed.

    Raises:
        UserError: there are fewer.
    """
    parts, left = [], size
    while left and (part := stream.read(min(left, CHUNK_BYTES))):
        parts.append(part)
        left -= len(part)
    if left:
        raise UserError(f"{path} is cut short: {size - left} bytes of {size}", CURE)
    return b"".join(parts)


def check_end(stream: IO[bytes], path: str) -> None:
    """Raises UserError where there is more to read; where there is not, gzip and zip now compare their checksums."""
    if stream.read(1):
        raise UserError(f"{path} has more bytes than its header tells of", CURE)


def check_size(path: str, size: int, limit: int = MOST_BYTES) -> None:
    """Raises UserError where something claims more bytes than it can have."""
    if not 0 <= size <= limit:
        raise UserError(f"{path} claims {size} bytes, more than the {limit} that it can hold", CURE)


def npz_array(archive: zipfile.ZipFile, name: str, path: str, packed_bytes: int) -> np.ndarray:
    """An array of an .npz file.

    Args:
        archive: the open file.
        name: of the array, without .npy.
        path: for errors.
        packed_bytes: of the whole file.

    Returns:
        The array, of numbers or truth values.

    Raises:
        UserError: it is cut short, or claims more than there is, or is of other than numbers.
        DAMAGED: whatever else is wrong with it; KeyError where there is none.
    """
    about = archive.getinfo(f"{name}.npy")
    check_size(path, about.file_size, min(MOST_BYTES, MOST_RATIO * packed_bytes))
    with archive.open(about) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise UserError(f"{path} is of npy version {version}, not (1, 0)", CURE)
        read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.kind not in "biuf" or min(shape, default=0) < 0:
            raise UserError(f"{path} has {name} {dtype} {list(shape)}, not an array of numbers", CURE)
        size = math.prod(shape) * dtype.itemsize
        check_size(path, size, about.file_size)
        data = read_exactly(stream, size, path)
        check_end(stream, path)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
