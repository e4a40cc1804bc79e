"""numba for hot integer loops, compiled once per machine into a writable cache."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import config
from numba.extending import intrinsic

from shammie.files import cache_directory


def _sources_digest() -> str:
    """A digest of all our modules that hold compiled code.

    numba's cache looks at one file: code inlined from another that has changed since would stay the old one.
    """
    found = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parent.parent
    for package in ("shammie", "models", "beam_jobs"):
        for path in sorted((root / package).rglob("*.py")):
            source = path.read_bytes()
            if path == Path(__file__) or b"shammie.jit" in source:
                found.update(source)
    return found.hexdigest()


config.__dict__["CACHE_DIR"] = str(cache_directory() / f"numba-{_sources_digest()}")


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles a function of arrays and integers; it runs without the interpreter lock, and is cached on disk."""
    return numba.njit(cache=True, nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compiles a small function into its callers."""
    return numba.njit(inline="always")(function)


@intrinsic
def _copy_16_bytes(typing_context: Any, target: Any, target_at: Any, source: Any, source_at: Any) -> Any:
    signature = numba.types.void(target, numba.types.int64, source, numba.types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 16).as_pointer()
        pointers = []
        for kind, array, at in zip(signature.args[::2], arguments[::2], arguments[1::2], strict=True):
            data = context.make_array(kind)(context, builder, array).data
            pointers.append(builder.bitcast(builder.gep(data, [at]), vector))
        loaded = builder.load(pointers[1])
        loaded.align = 1
        builder.store(loaded, pointers[0]).align = 1
        return context.get_dummy_value()

    return signature, generate


copy_16_bytes: Any = _copy_16_bytes
"""copy_16_bytes(target, target_at, source, source_at): one unaligned 16-byte move between uint8 arrays.

No bounds are checked: both arrays must have 16 bytes from the index on. A loop over bytes is six times slower, since
numba cannot know that the arrays do not overlap.
"""
