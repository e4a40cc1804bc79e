"""Which groups a sweep runs, and what that will take: pure functions of what is wanted and what is there."""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from beam_jobs.sweep.cells import Cell, row_bytes
from beam_jobs.sweep.kinds import Kind
from beam_jobs.sweep.store import Group, State, group_of
from shammie.errors import UserError
from shammie.files import canonical_json, is_local

GROUP_BYTES = 3 * 4096  # what a group takes besides its rows: blocks of two files, Parquet's own words, its plan
COPIES = 2  # the rows once in their shard, and once in the table that is made of all


class Todo(NamedTuple):
    """What is to run.

    Attributes:
        planned: groups that an earlier run planned and that are wanted as a whole.
        new: groups of all other cells.
    """

    planned: list[Group]
    new: list[Group]

    @property
    def groups(self) -> list[Group]:
        """All of them."""
        return [*self.planned, *self.new]


def todo_of(kind: Kind, wanted: Sequence[Cell], state: State) -> Todo:
    """The groups that a sweep must run.

    A group that was planned before runs as it was planned if none of its cells is done and all are wanted; what a
    changed grid no longer wants is not run. New groups are filled in the order of the cells, each key's as evenly as
    its size allows; cells that failed before are not mixed with others, whom they would make run one by one.
    """
    needed = {cell.identity: cell for cell in wanted if cell.identity not in state.done}
    planned = []
    for group in reversed(state.groups.values()):  # the latest plan knows the grid best
        if all(cell.identity in needed for cell in group.cells):
            planned.append(group)
            for cell in group.cells:
                del needed[cell.identity]
    planned.reverse()
    pools: dict[tuple[str, bool], list[Cell]] = {}
    for cell in needed.values():
        key = canonical_json(kind.group_key(cell.config))
        pools.setdefault((key, cell.identity in state.dead), []).append(cell)
    new = [group_of(key, chunk) for (key, _), cells in pools.items() for chunk in _even(kind, cells)]
    return Todo(planned, new)


def _even(kind: Kind, cells: Sequence[Cell]) -> list[Sequence[Cell]]:
    most = max(1, int(kind.group_size(cells[0].config)))
    size = math.ceil(len(cells) / math.ceil(len(cells) / most))
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def costs_of(kind: Kind, cells: Sequence[Cell]) -> dict[str, float]:
    """Identity to cost.

    Raises:
        UserError: a cost is not a number above 0.
    """
    found = {}
    for cell in cells:
        cost = float(kind.cost(cell.config))
        if not 0 < cost < math.inf:
            raise UserError(f"kind {kind.name} says that a cell costs {cost}: {cell.text}", "costs are above 0")
        found[cell.identity] = cost
    return found


def seconds_left(
    groups: Sequence[Group], costs: Mapping[str, float], records: Sequence[Mapping[str, Any]], host: str
) -> float | None:
    """How long groups will take, from the records of finished ones; None where there are none.

    Groups with the same key are the best measure, then any that ran on this host, then any.

    Args:
        groups: what is to run.
        costs: of each of their cells.
        records: of finished groups.
        host: this machine's name.
    """
    if not groups:
        return 0.0
    here = [record for record in records if record.get("host") == host] or list(records)
    if not here:
        return None
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for record in here:
        by_key.setdefault(record["key"], []).append(record)
    overall = _rate(here)
    rates = {key: _rate(several) for key, several in by_key.items()}
    each = [rates.get(group.key, overall) * sum(costs[cell.identity] for cell in group.cells) for group in groups]
    at_once = here[-1].get("at_once", 1)
    return max(sum(each) / at_once, *each)


def _rate(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds for each unit of cost."""
    return sum(record["seconds"] for record in records) / sum(record["cost"] for record in records)


class Left(NamedTuple):
    """What cells that are to run will take.

    Attributes:
        core_seconds: about; as the kind says, or by what finished groups took where there are any.
        bytes: of their rows, in the store and in the table.
        timed: how many finished groups told the speed.
    """

    core_seconds: float
    bytes: float
    timed: int


def left_of(
    kind: Kind, groups: Sequence[Group], costs: Mapping[str, float], records: Sequence[Mapping[str, Any]], here: str
) -> Left:
    """What groups will take, added up over them; the arguments are those of `seconds_left`."""
    cells = [cell for group in groups for cell in group.cells]
    told = [record for record in records if record.get("host") == here]
    whole = sum(costs[cell.identity] for cell in cells) * (_rate(told) if told else 1.0)
    return Left(whole, _row_bytes(kind, groups), len(told))


def _row_bytes(kind: Kind, groups: Sequence[Group]) -> float:
    cells = [cell for group in groups for cell in group.cells]
    return COPIES * sum(row_bytes(kind, cell) for cell in cells) + GROUP_BYTES * len(groups)


def check_room(folder: str, kind: Kind, groups: Sequence[Group]) -> None:
    """Refuses a grid whose results will not fit on a local disk.

    Raises:
        UserError: with what it needs, and what is free.
    """
    if not is_local(folder) or not groups:
        return
    cells = sum(len(group.cells) for group in groups)
    check_free(folder, _row_bytes(kind, groups), f"the {cells:,} cells that are to run", "make the grid smaller")


def check_free(folder: str, needs: float, what: str, cure: str) -> None:
    """Refuses what a local disk has no room for.

    Args:
        folder: where it is to go; it need not be there yet. Nothing is known of remote ones.
        needs: bytes.
        what: needs them.
        cure: what a person may do besides making room.

    Raises:
        UserError: with what it needs, and what is free.
    """
    free = free_bytes(folder)
    if free is not None and needs > free:
        raise UserError(
            f"{what} need about {size_words(needs)} of disk, and {folder} has {size_words(free)} free",
            f"{cure}, free some room, or choose another place",
        )


def free_bytes(folder: str) -> int | None:
    """The room on the disk where a folder is or will be; None of a remote one."""
    if not is_local(folder):
        return None
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return shutil.disk_usage(place).free


def size_words(count: float) -> str:
    """Bytes as a person says them: 3.2 MB, 1,024.0 GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
