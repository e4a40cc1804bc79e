"""What a store holds of a grid: its rows as one table, and how far the grid is."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beam_jobs.sweep.cells import cells_of, table_schema
from beam_jobs.sweep.kinds import Config, load_kind
from beam_jobs.sweep.planning import Left, costs_of, left_of, seconds_left, todo_of
from beam_jobs.sweep.store import State, Store
from shammie.errors import UserError
from shammie.lock import host
from shammie.progress import duration


@dataclass(frozen=True)
class Outlook:
    """How far a sweep is.

    Attributes:
        done: cells that have a row.
        missing: cells that have never run to their end.
        failed: cells that failed, and will be tried again.
        seconds_left: what missing and failed ones will take, from the times of finished ones; None without any.
        seconds_taken: what the groups of the done ones took by the clock, where as many ran at a time as could.
    """

    done: int
    missing: int
    failed: int
    seconds_left: float | None
    seconds_taken: float = 0.0

    def __str__(self) -> str:
        """Such as "1,200 of 1,728 cells done, about 12 min 3 s left"."""
        words = [f"{self.done:,} of {self.done + self.missing + self.failed:,} cells done"]
        if self.failed:
            words.append(f"{self.failed:,} failed and to be tried again")
        if self.missing + self.failed:
            left = self.seconds_left
            words.append("time left unknown: none is timed" if left is None else f"about {duration(left)} left")
        return ", ".join(words)


def read_cells(store: str, kind: str, configs: Sequence[Config], *, partial: bool = False) -> pa.Table:
    """The results of cells, in the order of their configs; equal configs give one row, failed cells none.

    Args:
        store: see `run_sweep`.
        kind: see `run_sweep`.
        configs: see `run_sweep`.
        partial: leave out cells that have not run.

    Returns:
        A table with the columns "cell" (identity), "config" (canonical JSON), then the kind's.

    Raises:
        UserError: cells have not run, or their rows are damaged.
    """
    loaded = load_kind(kind)
    cells = cells_of(loaded, configs)
    from_ = Store(store, loaded)
    state = from_.scan()
    missing = [cell for cell in cells if cell.identity not in state.done and cell.identity not in state.dead]
    if missing and not partial:
        raise UserError(
            f"{len(missing):,} of {len(cells):,} cells have not run in {from_.folder}, the first: {missing[0].text}",
            "run the sweep to its end",
        )
    wanted = [cell.identity for cell in cells if cell.identity in state.done]
    if not wanted:
        return table_schema(loaded).empty_table()
    tables = from_.read_all(list(dict.fromkeys(state.done[cell] for cell in wanted)), state.records)
    whole = pa.concat_tables(tables)
    place = {identity: row for row, identity in enumerate(whole["cell"].to_pylist())}
    return whole.take(pa.array([place[cell] for cell in wanted], pa.int64())).combine_chunks()


def outlook(store: str, kind: str, configs: Sequence[Config]) -> Outlook:
    """How far a sweep is, and how long the rest will take. Reads only."""
    loaded = load_kind(kind)
    cells = cells_of(loaded, configs)
    state = Store(store, loaded).scan()
    todo = todo_of(loaded, cells, state)
    seconds = seconds_left(todo.groups, costs_of(loaded, cells), list(state.records.values()), host())
    done = sum(cell.identity in state.done for cell in cells)
    failed = sum(cell.identity in state.dead for cell in cells)
    groups = {state.done[cell.identity] for cell in cells if cell.identity in state.done}
    taken = sum(state.records[name]["seconds"] / state.records[name].get("at_once", 1) for name in groups)
    return Outlook(done, len(cells) - done - failed, failed, seconds, taken)


def left(store: str | None, kind: str, configs: Sequence[Config]) -> Left:
    """What the cells that have no row yet will take; without a store, none has. Reads only."""
    loaded = load_kind(kind)
    cells = cells_of(loaded, configs)
    state = Store(store, loaded).scan() if store else State()
    return left_of(
        loaded, todo_of(loaded, cells, state).groups, costs_of(loaded, cells), list(state.records.values()), host()
    )
