"""Where a result came from: commit, packages, host, and the source of the code that made it."""

import functools
import hashlib
import importlib.util
import inspect
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from shammie.packages import checkout
from shammie.secrets import command_without_secrets


def git_state() -> dict[str, Any]:
    """The commit of the checkout that runs and whether it has uncommitted edits; None where there is no checkout."""
    nothing: dict[str, Any] = {"commit": None, "dirty": None}
    root = checkout()
    if root is None:
        return nothing
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or os.path.realpath(top) != os.path.realpath(root):
        return nothing
    status = _git(root, "status", "--porcelain")
    return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def _git(root: str, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def package_versions() -> dict[str, str]:
    """Name to version of every installed distribution, and of Python."""
    found = {name: one.version for one in metadata.distributions() if (name := one.metadata["Name"])}
    return {"python": platform.python_version()} | dict(sorted(found.items()))


def command() -> list[str]:
    """The command line that runs, without keys and passwords."""
    return command_without_secrets(sys.argv)


def shell_command() -> str:
    """The same as a line for a shell, as reports show it."""
    return shlex.join(["shammie", *command()[1:]])


def source_hash(function: Callable[..., Any], code: tuple[str, ...] = ()) -> str:
    """sha256, in hex, of the source of the function's module and of further modules or packages.

    Args:
        function: its module's file counts, as a whole.
        code: dotted names; of a package, every .py file counts.

    Returns:
        The hash, or "" where there is no source to read (an interactive session).
    """
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = function.func
    try:
        paths = [Path(inspect.getsourcefile(function) or "")]
        texts = [paths[0].read_bytes()]
    except (OSError, TypeError):
        return ""
    for name in code:
        texts += [path.read_bytes() for path in _files_of(name)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _files_of(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise ValueError(f"no source for module {name!r}")
    path = Path(spec.origin)
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
