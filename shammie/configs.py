"""Frozen dataclasses as the plain JSON values that identities are hashed from."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

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
