import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
sys.path.append(HERE)  # where sweep_kinds lies; pytest imports test modules without their folders


@pytest.fixture(autouse=True)
def sweep_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that tests start find the tests' kinds too."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[float]]]:
    """The groups that ran since it was last asked, each as the x of its cells, sorted."""
    log = tmp_path / "ran.jsonl"
    monkeypatch.setenv("SWEEP_LOG", str(log))
    return import_module("sweep_kinds").recorder(log)
