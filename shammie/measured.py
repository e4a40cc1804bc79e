"""Numbers measured of this machine, kept so that a short measurement is made once.

They are kept by host, processor and the versions of what is timed: a new library or another machine measures anew.
"""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shammie import files
from shammie.processors import processors

FOLDER = "rates"
Numbers = dict[str, float]


def measured(
    name: str, measure: Callable[[], Mapping[str, float]], *, packages: Sequence[str] = (), again: bool = False
) -> Numbers:
    """The numbers that were measured before on this machine, or else what `measure` finds now.

    Args:
        name: a word of what is measured.
        measure: gives numbers by name, finite and at least 0.
        packages: whose versions matter.
        again: measure in any case.
    """
    place = path_of(name, packages)
    known = None if again else _kept(place)
    if known is None:
        known = {key: float(value) for key, value in measure().items()}
        if not _sound(known):
            raise ValueError(f"{name}: measured {known}")
        files.make_directory(place.parent)
        files.write_json(place, {"machine": machine(packages), "numbers": known})
    return known


def path_of(name: str, packages: Sequence[str] = ()) -> Path:
    """The file that keeps them, in the cache."""
    return files.cache_directory() / FOLDER / f"{name}-{files.digest(machine(packages))[:16]}.json"


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """What a measured speed depends on besides what is measured: host, processors, versions."""
    return {
        "host": platform.node(),
        "processor": _processor(),
        "processors": processors(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in sorted({"shammie", *packages})},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _kept(place: Path) -> Numbers | None:
    """The numbers of a file; None where it is missing or damaged."""
    try:
        numbers = files.read_json(place)["numbers"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(numbers) if _sound(numbers) else None


def _sound(numbers: Any) -> bool:
    return (
        isinstance(numbers, Mapping)
        and bool(numbers)
        and all(type(value) in (int, float) and math.isfinite(value) and value >= 0 for value in numbers.values())
    )
