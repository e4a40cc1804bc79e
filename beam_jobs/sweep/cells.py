"""Cells: a config and its identity, and the table that results are kept in."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from beam_jobs.sweep.kinds import Config, Kind
from shammie.errors import UserError
from shammie.files import canonical_json, digest

LIST_GUESS, TEXT_GUESS = 32, 32  # entries of a list and bytes of a text, where nobody says how many


class Cell(NamedTuple):
    """One cell.

    Attributes:
        identity: sha256, in hex, of the kind's name and version, and of the config without the kind's `places`.
        text: the config's canonical JSON.
    """

    identity: str
    text: str

    @property
    def config(self) -> dict[str, Any]:
        """The config as JSON gives it: what the kind is handed."""
        return json.loads(self.text)


def identity_of(kind: Kind, config: Config) -> str:
    """A cell's identity. A whole number and the same number with a point are two: 1 is not 1.0."""
    places = getattr(kind, "places", ())
    logical = {name: value for name, value in config.items() if name not in places}
    return digest({"kind": kind.name, "version": kind.version, "config": logical})


def cells_of(kind: Kind, configs: Sequence[Config]) -> list[Cell]:
    """The cells of configs, in their order; a config that comes again is kept once, at its first place.

    Raises:
        UserError: a config is not plain JSON; its number, place and value are named.
    """
    found: dict[str, Cell] = {}
    for number, config in enumerate(configs):
        if not isinstance(config, Mapping):
            raise UserError(f"cell {number} is {config!r}, not an object of settings", "give names and values")
        wrong = _not_plain(config, "")
        if wrong:
            raise UserError(f"cell {number}: {wrong} is not plain JSON", "use text, finite numbers, lists and objects")
        cell = Cell(identity_of(kind, config), canonical_json(dict(config)))
        found.setdefault(cell.identity, cell)
    return list(found.values())


def _not_plain(value: object, place: str) -> str:
    """The first part of a value that JSON would lose or change, as "place=value"; "" if there is none."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                return f"name {key!r}{f' in {place}' if place else ''}"
            if found := _not_plain(inner, f"{place}.{key}" if place else key):
                return found
        return ""
    if isinstance(value, list | tuple):
        return next((found for i, one in enumerate(value) if (found := _not_plain(one, f"{place}[{i}]"))), "")
    plain = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    return "" if plain else f"{place}={value!r}"


def table_schema(kind: Kind) -> pa.Schema:
    """The columns of a table of cells: "cell", "config", then the kind's."""
    own = [pa.field("cell", pa.string(), nullable=False), pa.field("config", pa.string(), nullable=False)]
    return pa.schema([*own, *kind.schema])


def table_of(kind: Kind, cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of cells and their rows.

    Raises:
        ValueError: there are not as many rows as cells, or a row has other columns than the schema.
        pyarrow.ArrowException: a value does not fit its column.
    """
    if len(rows) != len(cells):
        raise ValueError(f"kind {kind.name} returned {len(rows)} rows for {len(cells)} cells")
    wanted = set(kind.schema.names)
    for row in rows:
        if set(row) != wanted:
            raise ValueError(f"kind {kind.name} returned columns {sorted(row)} instead of {sorted(wanted)}")
    schema = table_schema(kind)
    columns: dict[str, list[Any]] = {"cell": [c.identity for c in cells], "config": [c.text for c in cells]}
    columns |= {name: [row[name] for row in rows] for name in kind.schema.names}
    return pa.Table.from_arrays([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def row_bytes(kind: Kind, cell: Cell) -> int:
    """What a cell's row takes on disk, roughly: the kind's own word for its columns, or a guess from the schema."""
    own = getattr(kind, "row_bytes", None)
    columns = own(cell.config) if own else sum(_bytes_of(field.type) for field in kind.schema)
    return int(columns) + len(cell.identity) + len(cell.text)


def _bytes_of(column: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(column):
        return column.list_size * _bytes_of(column.value_type)
    if pa.types.is_list(column) or pa.types.is_large_list(column):
        return LIST_GUESS * _bytes_of(column.value_type)
    try:
        return max(1, column.bit_width // 8)
    except ValueError:
        return TEXT_GUESS
