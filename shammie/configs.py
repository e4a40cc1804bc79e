"""Frozen dataclasses as the plain JSON values that identities are hashed from."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from shammie.errors import unknown

Config = TypeVar("Config")

# For a field that came after runs had been made: `field(default=…, metadata=LATER)`. `plain` names it only where it is
# not its default, so that what was made before it keeps its identity; its default must never change.
LATER = MappingProxyType({"later": True})


def plain(value: Any) -> Any:
    """A config as plain JSON values: dataclasses and mappings become dicts, tuples lists; see `LATER`.

    Args:
        value: a dataclass, a container, or a value that is plain already.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: plain(getattr(value, one.name))
            for one in fields(value)
            if not (one.metadata.get("later") and getattr(value, one.name) == one.default)
        }
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def from_plain(kind: type[Config], values: Mapping[str, Any], what: str) -> Config:
    """A flat dataclass from plain JSON values; what is not named has its default.

    Args:
        kind: the dataclass.
        values: its fields by name.
        what: a field is called, for people: "setting of a run".

    Raises:
        UserError: it has no such field, or refuses a value.
    """
    known = [one.name for one in fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in known:
            raise unknown(what, name, known)
    return kind(**values)
