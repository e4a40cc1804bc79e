"""The gin files: only data, headed, and known by their rows."""

from pathlib import Path

import gin
import pytest

from workflows.gin_config import gin_files, gin_root
from workflows.systems import SYSTEMS

ROOT = Path(__file__).parent.parent


def test_gin_is_the_library_and_our_folder_holds_only_data() -> None:
    assert hasattr(gin, "parse_config_file")
    assert [path.name for path in (ROOT / "gin").rglob("*") if path.is_file() and path.suffix != ".gin"] == []


@pytest.mark.parametrize("name", gin_files())
def test_header(name: str) -> None:
    first = (Path(gin_root()) / name).read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


@pytest.mark.parametrize("name", [e.gin_file for system in SYSTEMS.values() for e in system.experiments])
def test_every_experiment_has_its_file(name: str) -> None:
    assert name in gin_files()
