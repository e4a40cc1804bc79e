"""Content hashes of files, remembered by size and time so that a large corpus is read once."""

import os
import time
from collections.abc import Iterable
from typing import Any

from shammie import files

KEPT = 200_000
SETTLED_S = 2.0  # a file changed later than this may change again within one tick of the clock: not remembered yet


def sha256_of_files(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """sha256, in hex, of each file, by the path as given.

    A file whose size and modification time (or, on an object store, whose entry) are those of an
    earlier call is not read again.
    """
    memory_path = files.cache_directory() / "file_hashes.json"
    memory = _load(memory_path)
    found: dict[str, str] = {}
    learned: dict[str, list[Any]] = {}
    for path in [os.fspath(path) for path in paths]:
        key = os.path.abspath(path) if files.is_local(path) else path
        stamp, settled = _stamp(path)
        known = memory.get(key)
        if known and known[0] == stamp:
            found[path] = known[1]
            continue
        found[path] = files.sha256_of(path)
        if settled:
            learned[key] = [stamp, found[path]]
    if learned:
        merged = {**_load(memory_path), **learned}
        files.write_json(memory_path, dict(list(merged.items())[-KEPT:]))
    return found


def _stamp(path: str) -> tuple[str, bool]:
    if files.is_local(path):
        about = os.stat(path)
        return f"{about.st_size}:{about.st_mtime_ns}", time.time() - about.st_mtime > SETTLED_S
    import fsspec

    filesystem, inner = fsspec.core.url_to_fs(path)
    return str(filesystem.ukey(inner)), True


def _load(path: os.PathLike[str]) -> dict[str, list[Any]]:
    try:
        value = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
