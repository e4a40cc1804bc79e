"""Measured numbers: kept by machine, measured anew where what is kept is no good."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shammie import measured as module
from shammie.measured import machine, measured, path_of


@pytest.fixture
def counting(own_cache: Path) -> Callable[[], dict[str, float]]:
    """A measurement that gives 1, 2, 3, … with each call."""
    calls: list[float] = []

    def measure() -> dict[str, float]:
        calls.append(len(calls) + 1.0)
        return {"speed": calls[-1]}

    return measure


def test_is_measured_once_and_kept(counting: Any) -> None:
    assert measured("walk", counting) == {"speed": 1.0}
    assert measured("walk", counting) == {"speed": 1.0}
    assert measured("run", counting) == {"speed": 2.0}, "another name"
    assert measured("walk", counting, again=True) == {"speed": 3.0}
    assert measured("walk", counting) == {"speed": 3.0}
    kept = json.loads(path_of("walk").read_text())
    assert kept == {"machine": machine(), "numbers": {"speed": 3.0}}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"numbers": {}}', b'{"numbers": {"speed": "1"}}', b'{"numbers": [1]}']
    + [b'{"numbers": {"speed": %s}}' % value for value in (b"NaN", b"Infinity", b"-1", b"true", b"null", b"[1]")]
    + [b"\xff\xfe"],
)
def test_a_damaged_file_is_measured_anew(content: bytes, counting: Any) -> None:
    measured("walk", counting)
    path_of("walk").write_bytes(content)
    assert measured("walk", counting) == {"speed": 2.0}
    assert measured("walk", counting) == {"speed": 2.0}, "and is whole again"


def test_another_machine_or_version_measures_anew(counting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measured("walk", counting, packages=("numpy",))
    assert measured("walk", counting, packages=("numpy", "pyarrow")) == {"speed": 2.0}
    assert machine(("numpy",))["packages"]["numpy"]
    assert machine(("no-such-package",))["packages"]["no-such-package"] == ""
    monkeypatch.setattr(module, "processors", lambda: 77)
    assert measured("walk", counting, packages=("numpy",)) == {"speed": 3.0}


@pytest.mark.parametrize("numbers", [{}, {"speed": float("nan")}, {"speed": -1.0}])
def test_what_is_no_measurement_is_not_kept(numbers: dict[str, float], own_cache: Path) -> None:
    with pytest.raises(ValueError, match="walk: measured"):
        measured("walk", lambda: numbers)
    assert not path_of("walk").exists()
