"""What every test stands on: JAX on the CPU, no silent rank promotion, and a cache of its own for file hashes."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")


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


_XLA_FLAGS = os.environ.get("XLA_FLAGS")


def pytest_collection_finish() -> None:
    """Undoes what modules set when they were imported: runs in other processes are compared with runs in this one."""
    if _XLA_FLAGS is None:
        os.environ.pop("XLA_FLAGS", None)
    else:
        os.environ["XLA_FLAGS"] = _XLA_FLAGS
