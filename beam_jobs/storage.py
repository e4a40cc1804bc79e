"""Files of a job on any file system that Beam knows; local ones go through `shammie.files`, whole or absent."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from shammie import files
from shammie.errors import UserError


class Found(NamedTuple):
    """A file that a pattern found: its path, its size in bytes, and when it changed (seconds; a resume checks it)."""

    path: str
    size: int
    changed: float


def expand(pattern: str) -> list[Found]:
    """The files that a path, folder or glob names, sorted by path.

    Raises:
        UserError: nothing is there, or it cannot be read.
    """
    if files.is_local(pattern) and os.path.isdir(pattern):
        pattern = os.path.join(pattern, "**")
    found = match(pattern)
    if files.is_local(pattern):
        for file in found:
            if not os.access(file.path, os.R_OK):
                raise UserError(f"no permission to read input {file.path}", "check the file's owner and mode")
    if not found:
        raise UserError(f"input {pattern!r} matches no file", "check the path")
    return found


def match(pattern: str) -> list[Found]:
    """The files that a path or glob names, sorted by path; there may be none.

    Raises:
        UserError: the place cannot be listed.
    """
    try:
        metadata = FileSystems.match([pattern])[0].metadata_list
    except (BeamIOError, ValueError, OSError) as error:
        raise UserError(f"cannot list input {pattern!r}: {_reason(error)}", "check the path and its scheme") from error
    found = [Found(m.path, m.size_in_bytes, m.last_updated_in_seconds or 0.0) for m in metadata]
    if files.is_local(pattern):
        found = [file for file in found if not os.path.isdir(file.path)]
    return sorted(found)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def open_read(path: str) -> IO[bytes]:
    """Opens a file for reading bytes as they are, never decompressed."""
    if files.is_local(path):
        return open(path, "rb")
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read_into(file: IO[bytes], view: memoryview) -> int:
    """Fills a buffer as far as the file goes; returns how many bytes came."""
    done = 0
    readinto = getattr(file, "readinto", None)
    while done < len(view):
        if readinto is not None:
            count = readinto(view[done:])
        else:
            data = file.read(len(view) - done)
            count = len(data)
            view[done : done + count] = data
        if not count:
            break
        done += count
    return done


@contextmanager
def writing(path: str, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all.

    Args:
        path: where.
        sync: wait until a local disk has it; without, only a power cut can lose it.
    """
    if files.is_local(path):
        with files.writing(path, sync=sync) as file:
            yield file
        return

    def create(beside: str) -> IO[bytes]:
        return FileSystems.create(
            beside, mime_type="application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED
        )

    def finish(file: IO[bytes], beside: str) -> None:
        file.close()
        remove(path)  # not every file system renames over a file
        FileSystems.rename([beside], [path])

    with files.whole_or_absent(path, create, finish, remove) as file:
        yield file


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file."""
    with writing(path) as file:
        file.write(data)


def write_json(path: str, value: Any) -> None:
    """Writes indented JSON with sorted keys."""
    write_bytes(path, files.json_bytes(value))


def read_bytes(path: str) -> bytes:
    """The whole file."""
    with open_read(path) as file:
        return file.read()


def read_json(path: str) -> Any:
    """The value of a JSON file; ValueError where it is none."""
    return files.json_of(read_bytes(path))


def read_json_or_none(path: str) -> Any:
    """The value of a JSON file, or None where there is none or half of one."""
    try:
        return read_json(path)
    except (OSError, BeamIOError, ValueError):
        return None


def size_of(path: str) -> int:
    """A file's size in bytes, or -1 where there is none."""
    if files.is_local(path):
        return os.path.getsize(path) if os.path.isfile(path) else -1
    found = FileSystems.match([path])[0].metadata_list
    return found[0].size_in_bytes if found else -1


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    return files.exists(path) if files.is_local(path) else FileSystems.exists(path)


def make_directory(path: str) -> None:
    """Makes a folder and its parents where missing."""
    if files.is_local(path):
        files.make_directory(path)
    elif not FileSystems.exists(path):
        FileSystems.mkdirs(path)


def list_directory(directory: str) -> list[str]:
    """The sorted names of the files (locally: and folders) right in a folder; empty where there is none."""
    if files.is_local(directory):
        return files.list_directory(directory)
    found = FileSystems.match([files.join(directory, "*")])[0].metadata_list
    return sorted(m.path.rsplit("/", 1)[-1] for m in found)


def remove(path: str) -> None:
    """Removes a file or a folder; nothing happens where there is none."""
    if files.is_local(path):
        files.remove(path)
    elif FileSystems.exists(path):
        FileSystems.delete([path])


def buffered(file: IO[bytes]) -> IO[bytes]:
    """A seekable view of a file, for readers that need one; files that cannot seek are read whole."""
    seekable = getattr(file, "seekable", lambda: False)()
    return file if seekable else io.BytesIO(file.read())
