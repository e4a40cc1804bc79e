"""What a sweep can compute: a kind of cell, found by its dotted address.

A kind is an object at module level of an importable module. Its address, such as
"beam_jobs.parameterization.cells:TRAINING", travels to the workers, never the object or a closure.
"""

import pkgutil
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from beam_jobs.sweep.ways import Ways
from shammie.errors import UserError, unknown

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]
Config = Mapping[str, JSON]

RESERVED = ("cell", "config")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@runtime_checkable
class Kind(Protocol):
    """A kind of cell. Groups of several processes and threads call one object: it keeps no state between calls.

    Four more members are optional:
    - `row_bytes(config) -> int`: what a cell's row takes on disk; else it is estimated from the schema.
    - `threads`: the most groups that one process runs at a time; else one per processor.
    - `places`: the names in a config that only say where something lies, such as a file whose checksum it has too: a
      cell is the same wherever that is.
    - `prepare()`: called in each process before its first group.

    Attributes:
        name: one lowercase word, part of a cell's identity.
        version: raised when results change; part of a cell's identity.
        schema: of the result's columns, scalars or lists; "cell" and "config" are the engine's own.
    """

    name: str
    version: int
    schema: pa.Schema

    def group_key(self, config: Config) -> JSON:
        """Cells with equal keys may run as one group: they have the same shapes."""
        ...

    def group_size(self, config: Config) -> int:
        """The most cells of a group with this cell's key."""
        ...

    def cost(self, config: Config) -> float:
        """The cell's work, relative to other cells, above 0; for estimates and for running long groups first."""
        ...

    def run(self, configs: Sequence[Config], ways: Ways) -> Sequence[Mapping[str, Any]]:
        """Runs a group: a row for each config, in their order, with exactly the schema's columns.

        What is not finite is a result; an exception is a failure.
        """
        ...


def load_kind(address: str) -> Kind:
    """The kind at "module:attribute".

    Raises:
        UserError: there is no such module or attribute (the nearest are named), or it is no kind.
    """
    name, colon, attribute = address.partition(":")
    if not (name and colon and attribute):
        raise UserError(f"kind {address!r} is no address", "give module:ATTRIBUTE, such as a.b.cells:TRAINING")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(f"{missing}."):
            raise UserError(f"kind {address!r} needs {missing!r}, which is not installed", "install it") from error
        raise unknown("kind", address, _nearby(name)) from error
    found = getattr(module, attribute, None)
    if found is None:
        known = [f"{name}:{word}" for word, value in vars(module).items() if _is_kind(value)]
        raise unknown("kind", address, known)
    if not _is_kind(found):
        raise UserError(f"{address} is no kind of cell", "see beam_jobs.sweep.kinds.Kind for what it needs")
    if not _NAME.fullmatch(found.name) or not isinstance(found.version, int):
        raise UserError(
            f"{address}: name {found.name!r} and version {found.version!r} are not a lowercase word and a whole number",
            "change them",
        )
    clash = [word for word in RESERVED if word in found.schema.names]
    if clash:
        raise UserError(f"{address}: column {clash[0]!r} is the engine's own", "call it otherwise")
    return found


def folder_name(kind: Kind) -> str:
    """The name of a kind's folder in a store."""
    return f"{kind.name}-v{kind.version}"


def _is_kind(value: object) -> bool:
    return isinstance(value, Kind) and not isinstance(value, type)


def _nearby(name: str) -> list[str]:
    """Modules that might have been meant: those beside the part of the name that does exist, and beneath it."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        parent = ".".join(parts[:depth])
        try:
            spec = find_spec(parent)
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.submodule_search_locations is not None:
            inside = list(pkgutil.walk_packages(spec.submodule_search_locations, f"{parent}."))
            return [module.name for module in inside if not module.name.endswith("__main__")]
    return []
