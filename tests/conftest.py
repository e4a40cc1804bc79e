"""What every test stands on: JAX on the CPU, no silent rank promotion, and a cache of its own for file hashes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
XLA_FLAGS = os.environ.get("XLA_FLAGS", "")


def pytest_collection_finish() -> None:
    """Compiles something, whereupon XLA reads its flags once: what a test sets of them is for other processes."""
    import jax

    jax.jit(lambda x: x + 1)(1)


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """Compiled programs end with their module: each holds mappings, of which a process may have 65,530, and memory."""
    yield
    import jax

    jax.clear_caches()


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SHAMMIE_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _own_xla_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others set of XLA's flags ended with them: bits of this process are compared with those of others."""
    monkeypatch.setenv("XLA_FLAGS", XLA_FLAGS)
