"""Files: whole or absent, named by their content, local or on any fsspec file system."""

import hashlib
import io
import json
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 1 << 20
_BESIDE = re.compile(r"\.tmp-[0-9a-f]{8}$")  # ends the other name of a file that is being written


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


def move(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Gives a file or a directory another name on its own file system; nothing may be there yet."""
    source, target = os.fspath(source), os.fspath(target)
    if is_local(source):
        os.rename(source, target)
    else:
        filesystem, inner = _remote(source)
        filesystem.mv(inner, _remote(target)[1], recursive=True)


def is_leftover(name: str) -> bool:
    """Whether a file's name is one under which `writing` writes: where its writer is dead, what that left."""
    return bool(_BESIDE.search(name))


def remove_leftovers(directory: str | os.PathLike[str], *, below: bool = False) -> None:
    """Removes what killed writers left in a local directory, which is held, so that none writes there now.

    Args:
        directory: where; nothing happens where it is remote: other files than those that appeared whole may not be
            seen there at all.
        below: look into the directories in it too.
    """
    if not is_local(directory):
        return
    for path in Path(directory).rglob("*") if below else Path(directory).glob("*"):
        if is_leftover(path.name) and path.is_file():
            path.unlink(missing_ok=True)


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


class _Named(io.FileIO):
    """A file whose failed writes name the path that the user gave, which need not be the one that is open."""

    def __init__(self, opened: str | int, named: str) -> None:
        super().__init__(opened, "wb")
        self._named = named

    def write(self, b: Any, /) -> int:
        with naming(self._named):
            return super().write(b)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Within it a failed system call names this path, whatever it was called on, if anything."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename == path and error.filename2 is None):
            raise
        raise OSError(error.errno, error.strerror, path) from error


@contextmanager
def whole_or_absent(
    path: str,
    create: Callable[[str], IO[bytes]],
    finish: Callable[[IO[bytes], str], None],
    discard: Callable[[str], Any],
) -> Iterator[IO[bytes]]:
    """A file that is written under another name beside its own and moved when it is whole, on any file system.

    Args:
        path: its own name; errors of these three name it.
        create: opens the other name.
        finish: closes the file and moves the other name over the own one.
        discard: removes the other name, if it is there.
    """
    beside = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        with naming(path):
            file = create(beside)
        try:
            yield file
            with naming(path):
                finish(file, beside)
        except BaseException:
            with suppress(Exception):  # what is in its buffer is not wanted any more
                file.close()
            raise
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            discard(beside)
        raise


@contextmanager
def writing(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all: written beside, synced, then moved.

    A file that is replaced keeps its mode, and behind a symbolic link the file that it leads to is replaced. A pipe or
    a device is written to directly, and /dev/stdout and its like from where they are. Failures name the path as it is
    given here.

    Args:
        path: where.
        sync: wait until a local disk has it; without, only a power cut can lose it.
    """
    path = os.fspath(path)
    if not is_local(path):
        with _writing_remote(path) as file:
            yield file
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    stream = _open_already(path)
    if stream is not None or (mode is not None and not stat.S_ISREG(mode)):
        with naming(path):
            file = io.BufferedWriter(_Named(path if stream is None else os.dup(stream), path))
        try:
            yield file
        finally:
            with naming(path):
                file.close()
        return
    target = os.path.realpath(path)

    def create(beside: str) -> IO[bytes]:
        beside = target + beside.removeprefix(path)
        file = io.BufferedWriter(_Named(beside, path))
        if mode is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(mode))
        return file

    def finish(file: IO[bytes], beside: str) -> None:
        file.flush()
        if sync:
            os.fsync(file.fileno())
        file.close()
        os.replace(target + beside.removeprefix(path), target)

    def discard(beside: str) -> None:
        os.unlink(target + beside.removeprefix(path))

    with whole_or_absent(path, create, finish, discard) as file:
        yield file


def _open_already(path: str) -> int | None:
    """The descriptor that a path such as /dev/stdout stands for; a file behind it must not be replaced."""
    named = {"/dev/stdout": 1, "/dev/stderr": 2}
    folder, number = os.path.split(path)
    if folder in ("/dev/fd", "/proc/self/fd") and number.isdigit():
        return int(number)
    return named.get(path)


@contextmanager
def _writing_remote(path: str) -> Iterator[IO[bytes]]:
    # fsspec's own transactions are one per file system and process: two writers at a time would share one
    filesystem, _ = _remote(path)

    def inner(path: str) -> str:
        return filesystem._strip_protocol(path)

    def finish(file: IO[bytes], beside: str) -> None:
        file.close()
        filesystem.mv(inner(beside), inner(path))

    with whole_or_absent(
        path,
        lambda beside: filesystem.open(inner(beside), "wb"),
        finish,
        lambda beside: filesystem.rm_file(inner(beside)),
    ) as file:
        yield file


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a whole file, atomically."""
    with writing(path) as file:
        file.write(data)


def write_json(path: str | os.PathLike[str], value: Any, *, sort_keys: bool = True) -> None:
    """Writes indented JSON, atomically, with keys sorted or in the order they have."""
    write_bytes(path, json_bytes(value, sort_keys=sort_keys))


def json_bytes(value: Any, *, sort_keys: bool = True) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n").encode()


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file; ValueError where it is none."""
    return json_of(read_bytes(path))


def json_of(data: bytes | str) -> Any:
    """The value of JSON from outside: whatever is wrong with it, its depth too, is a ValueError."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def json_object_of(data: bytes | str) -> dict[str, Any]:
    """The same, of an object: any other value is a ValueError."""
    value = json_of(data)
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}, not an object")
    return value


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
