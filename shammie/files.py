"""Files: whole or absent, named by their content, local or on any fsspec file system."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 1 << 20


def is_local(path: str | os.PathLike[str]) -> bool:
    """Whether the path is an ordinary local one (no scheme such as gs://)."""
    return "://" not in os.fspath(path)


def join(directory: str | os.PathLike[str], *parts: str) -> str:
    """The path of something in a directory, local or remote."""
    return "/".join([os.fspath(directory).rstrip("/") or "/", *parts]).replace("//", "/", int(is_local(directory)))


def _remote(path: str) -> tuple[Any, str]:
    import fsspec  # imported late: only remote paths need it

    return fsspec.core.url_to_fs(path)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether a file or directory is there."""
    path = os.fspath(path)
    if is_local(path):
        return os.path.exists(path)
    filesystem, inner = _remote(path)
    return filesystem.exists(inner)


def make_directory(path: str | os.PathLike[str]) -> None:
    """Makes a directory and its parents where missing."""
    path = os.fspath(path)
    if is_local(path):
        os.makedirs(path, exist_ok=True)
    else:
        filesystem, inner = _remote(path)
        filesystem.makedirs(inner, exist_ok=True)


def list_directory(path: str | os.PathLike[str]) -> list[str]:
    """The sorted names in a directory; empty where there is none."""
    path = os.fspath(path)
    if is_local(path):
        return sorted(os.listdir(path)) if os.path.isdir(path) else []
    filesystem, inner = _remote(path)
    if not filesystem.isdir(inner):
        return []
    return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in filesystem.ls(inner, detail=False))


def is_directory(path: str | os.PathLike[str]) -> bool:
    """Whether the path is a directory that is there."""
    path = os.fspath(path)
    if is_local(path):
        return os.path.isdir(path)
    filesystem, inner = _remote(path)
    return filesystem.isdir(inner)


def file_sizes(directory: str | os.PathLike[str]) -> dict[str, int]:
    """Every file below a directory: its path from there, with forward slashes, to its size in bytes."""
    directory = os.fspath(directory)
    if is_local(directory):
        root = Path(directory)
        return {p.relative_to(root).as_posix(): p.stat().st_size for p in sorted(root.rglob("*")) if p.is_file()}
    filesystem, inner = _remote(directory)
    start = len(filesystem._strip_protocol(inner).rstrip("/")) + 1
    found = filesystem.find(inner, detail=True)
    return {path[start:]: int(about["size"]) for path, about in sorted(found.items())}


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Makes renames within a local directory survive a power cut; nothing to do for a remote one."""
    path = os.fspath(path)
    if is_local(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copies one file; the copy appears whole or not at all."""
    with open_read(source) as reading, writing(target) as file:
        while chunk := reading.read(CHUNK_BYTES):
            file.write(chunk)


def remove(path: str | os.PathLike[str]) -> None:
    """Removes a file or a whole directory; nothing happens where there is none."""
    path = os.fspath(path)
    if not exists(path):
        return
    if is_local(path):
        import shutil

        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    else:
        filesystem, inner = _remote(path)
        filesystem.rm(inner, recursive=True)


def open_read(path: str | os.PathLike[str]) -> IO[bytes]:
    """Opens a file for reading bytes."""
    path = os.fspath(path)
    if is_local(path):
        return open(path, "rb")
    filesystem, inner = _remote(path)
    return filesystem.open(inner, "rb")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file."""
    with open_read(path) as file:
        return file.read()


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all: written beside, synced, then renamed.

    On object stores the object appears when it is closed, which has the same effect.
    """
    path = os.fspath(path)
    if not is_local(path):
        filesystem, inner = _remote(path)
        with filesystem.transaction, filesystem.open(inner, "wb") as file:
            yield file
        return
    beside = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a whole file, atomically."""
    with writing(path) as file:
        file.write(data)


def write_json(path: str | os.PathLike[str], value: Any, *, sort_keys: bool = True) -> None:
    """Writes indented JSON, atomically, with keys sorted or in the order they have."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file."""
    return json.loads(read_bytes(path))


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces; anything but plain JSON values is a TypeError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """sha256, in hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """sha256, in hex, of a file's bytes."""
    found = hashlib.sha256()
    with open_read(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def cache_directory() -> Path:
    """A writable folder for what can be made again: SHAMMIE_CACHE, XDG_CACHE_HOME/shammie or a temporary one."""
    import tempfile

    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    wanted = Path(os.environ.get("SHAMMIE_CACHE") or os.path.join(home, "shammie"))
    for folder in (wanted, Path(tempfile.gettempdir()) / f"shammie-{os.getuid()}"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise OSError("no writable cache folder; set SHAMMIE_CACHE to one")
