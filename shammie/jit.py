"""numba for hot integer loops, compiled once per machine into a writable cache."""

from collections.abc import Callable
from typing import Any

import numba

from shammie.files import cache_directory

numba.config.CACHE_DIR = str(cache_directory() / "numba")


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles a function of arrays and integers; it runs without the interpreter lock, and is cached on disk."""
    return numba.njit(cache=True, nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compiles a small function into its callers."""
    return numba.njit(inline="always")(function)
