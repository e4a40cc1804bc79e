"""Where cells are kept: a folder for each kind and version, that only ever grows.

    STORE/KIND-vVERSION/plan/00000.jsonl     groups, a line each, in the order in which they were planned; a run that
                                             brings new cells adds a file
                        cells/GROUP.parquet  the rows of a finished group, in the order of its cells
                        cells/GROUP.json     its record, written after them: seconds, cost, host, size, sha256, and
                                             the cells that failed
                        ways/KEY.json        which way a shape is computed (`beam_jobs.sweep.ways`)
                        dead_letters.jsonl   what failed in the latest run, with configs and reasons

GROUP is the digest of its cells' identities, KIND and VERSION are in those: nothing here is ever out of date. What has
a record whose rows are there in their size is done. A group's members never change, so that a sweep that was killed
goes on to the same bytes as one that was not.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.sweep.cells import Cell
from beam_jobs.sweep.kinds import Kind, folder_name
from shammie import files
from shammie.errors import UserError
from shammie.files import canonical_json, digest, join

REMOTE_READERS = 16


class Group(NamedTuple):
    """Cells that run together.

    Attributes:
        name: the digest of its cells' identities.
        key: the canonical JSON of the kind's group key.
        cells: in their order.
    """

    name: str
    key: str
    cells: tuple[Cell, ...]


class DeadLetter(NamedTuple):
    """A cell that failed.

    Attributes:
        cell: its identity.
        config: its config.
        reason: the error, in one line.
    """

    cell: str
    config: dict[str, Any]
    reason: str


@dataclass
class State:
    """What a store holds.

    Attributes:
        groups: the planned ones by name, in the order in which they were planned.
        records: name to record, of the finished ones.
        done: identity of a cell to the name of the group that holds its row.
        dead: identity of a cell to its dead letter; a cell is here or in `done`, never in both.
        plans: the files that the groups were read from.
    """

    groups: dict[str, Group] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    dead: dict[str, DeadLetter] = field(default_factory=dict)
    plans: tuple[str, ...] = ()


def group_of(key: str, cells: Sequence[Cell]) -> Group:
    """A group of cells."""
    return Group(digest([cell.identity for cell in cells]), key, tuple(cells))


class Store:
    """The folder of one kind in a store.

    Args:
        store: a folder, local or on any fsspec file system.
        kind: the kind.
    """

    def __init__(self, store: str, kind: Kind) -> None:
        self.folder = join(store, folder_name(kind))
        self.ways = join(self.folder, "ways")
        self._plan, self._cells = join(self.folder, "plan"), join(self.folder, "cells")

    def make(self) -> None:
        """Makes its folders where missing."""
        for folder in (self._plan, self._cells):
            files.make_directory(folder)

    def add(self, groups: Sequence[Group]) -> None:
        """Plans groups: from now on their members stand."""
        names = self._names(self._plan, ".jsonl")
        lines = [
            canonical_json(
                {
                    "group": group.name,
                    "key": group.key,
                    "cells": [[cell.identity, cell.config] for cell in group.cells],
                }
            )
            for group in groups
        ]
        number = 1 + int(names[-1].removesuffix(".jsonl")) if names else 0
        files.write_bytes(join(self._plan, f"{number:05d}.jsonl"), "".join(f"{line}\n" for line in lines).encode())

    def scan(self, known: State | None = None) -> State:
        """What is planned, done and failed now.

        Args:
            known: an earlier scan; only what has come since is read. Plans only grow, and a record stands once it has
                no dead letter: others are read again.
        """
        self._forget_listings()
        known = known or State()
        plans = tuple(self._names(self._plan, ".jsonl"))
        groups = known.groups | {group.name: group for group in self._planned(plans[len(known.plans) :])}
        sizes = files.file_sizes(self._cells) if files.exists(self._cells) else {}
        recorded = [name for name in groups if f"{name}.json" in sizes]
        records = {name: record for name, record in known.records.items() if not record["dead"]}
        unread = [name for name in recorded if name not in records]
        records |= {name: record for name, record in zip(unread, self._records(unread), strict=True) if record}
        state = State(groups, plans=plans)
        for name in recorded:
            record = records.get(name)
            if record is None or sizes.get(f"{name}.parquet", 0) != record["size"]:
                continue
            state.records[name] = record
            failed = {letter["cell"]: letter for letter in record["dead"]}
            for cell in groups[name].cells:
                if cell.identity not in failed:
                    state.done.setdefault(cell.identity, name)
                    state.dead.pop(cell.identity, None)
                elif cell.identity not in state.done:
                    letter = failed[cell.identity]
                    state.dead[cell.identity] = DeadLetter(cell.identity, cell.config, letter["reason"])
        return state

    def finished(self) -> list[str]:
        """The names of the groups that have a record; quicker than `scan`."""
        self._forget_listings()
        return [name.removesuffix(".json") for name in self._names(self._cells, ".json")]

    def write(self, group: Group, table: pa.Table, record: Mapping[str, Any]) -> None:
        """Ends a group: its rows, then its record.

        Args:
            group: the group.
            table: the rows of those of its cells that did not fail.
            record: what is to be told of it besides size and sha256; "dead" lists the failed cells.
        """
        data = b""
        if table.num_rows:
            data = parquet_bytes(table)
            self._write(self._shard(group.name), data)
        about = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "key": group.key, **record}
        self._write(self._record(group.name), files.json_bytes(about))

    def discard(self, name: str) -> None:
        """Makes a group one that must run."""
        files.remove(self._record(name))

    def read(self, name: str, record: Mapping[str, Any]) -> pa.Table:
        """The rows of a finished group that has any.

        Raises:
            UserError: they are damaged.
        """
        path = self._shard(name)
        data = files.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != record["sha256"]:
            raise UserError(f"{path} is damaged", "remove it and run the same sweep again")
        return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)

    def read_all(self, names: Sequence[str], records: Mapping[str, Mapping[str, Any]]) -> list[pa.Table]:
        """The rows of several finished groups."""
        return list(self._map(lambda name: self.read(name, records[name]), names))

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Writes what failed, for people."""
        files.write_bytes(join(self.folder, "dead_letters.jsonl"), lines_of(letters))

    def _write(self, path: str, data: bytes) -> None:
        # a power cut may lose what is not synced: then the size is wrong, and the group runs again
        with files.writing(path, sync=False) as file:
            file.write(data)

    def _planned(self, names: Sequence[str]) -> Iterator[Group]:
        for name in names:
            for line in files.read_bytes(join(self._plan, name)).splitlines():
                value = json.loads(line)
                cells = [Cell(identity, canonical_json(config)) for identity, config in value["cells"]]
                yield Group(value["group"], value["key"], tuple(cells))

    def _records(self, names: Sequence[str]) -> list[dict[str, Any] | None]:
        def read(name: str) -> dict[str, Any] | None:
            try:
                record = json.loads(files.read_bytes(self._record(name)))
                return record if {"size", "sha256", "dead", "seconds", "cost"} <= set(record) else None
            except (FileNotFoundError, ValueError, TypeError):
                return None

        return list(self._map(read, names))

    def _map(self, function: Any, names: Sequence[str]) -> Iterator[Any]:
        """Each file of an object store is a long wait: many at a time."""
        if files.is_local(self.folder):
            yield from map(function, names)
            return
        with ThreadPoolExecutor(REMOTE_READERS) as pool:
            yield from pool.map(function, names)

    def _names(self, folder: str, suffix: str) -> list[str]:
        return [name for name in files.list_directory(folder) if name.endswith(suffix)]

    def _shard(self, name: str) -> str:
        return join(self._cells, f"{name}.parquet")

    def _record(self, name: str) -> str:
        return join(self._cells, f"{name}.json")

    def _forget_listings(self) -> None:
        """What workers elsewhere wrote is not in the listings that an fsspec file system remembers."""
        if not files.is_local(self.folder):
            import fsspec  # imported late: only remote paths need it

            fsspec.core.url_to_fs(self.folder)[0].invalidate_cache()


def lines_of(letters: Sequence[DeadLetter]) -> bytes:
    """Dead letters as lines of JSON."""
    return "".join(canonical_json(letter._asdict()) + "\n" for letter in letters).encode()


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
