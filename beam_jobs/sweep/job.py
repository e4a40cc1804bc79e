"""A sweep: independent cells in groups, each run once; what is done is never run again.

A grid may grow or change between runs, and several grids may share a store: only cells that it does not hold yet run.
`beam_jobs.sharded` does not serve here: its shards are numbered parts of one config that never grows, and hold lines.
Its job's lock and watch are the same.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions

from beam_jobs.runner import job_options, one_worker, run_pipeline
from beam_jobs.sharded_job import held, watched
from beam_jobs.sweep.cells import Cell, cells_of
from beam_jobs.sweep.kinds import Config, load_kind
from beam_jobs.sweep.planning import check_room, costs_of, todo_of
from beam_jobs.sweep.results import Outlook, outlook, read_cells
from beam_jobs.sweep.store import DeadLetter, Group, Store
from beam_jobs.sweep.transforms import RunGroups
from shammie import files
from shammie.errors import UserError
from shammie.processors import processors
from shammie.progress import Progress

__all__ = ["DeadLetter", "Outcome", "Outlook", "outlook", "read_cells", "run_sweep"]


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
        done: cells of the grid that have a row now.
        ran: cells that this run ran, failed ones among them.
        dead: the cells that failed; the next run tries them again.
        seconds: what this run took.
    """

    done: int
    ran: int
    dead: tuple[DeadLetter, ...]
    seconds: float

    @property
    def failed(self) -> int:
        """How many cells have failed."""
        return len(self.dead)

    @property
    def counters(self) -> dict[str, float]:
        """For a record."""
        seconds = round(self.seconds, 3)
        return {"cells": self.done, "cells_run": self.ran, "dead_letters": self.failed, "sweep_seconds": seconds}


def run_sweep(
    store: str,
    kind: str,
    configs: Sequence[Config],
    beam_flags: Sequence[str] = (),
    *,
    max_bad_share: float = 0.0,
    what: str,
    threads: int | None = None,
) -> Outcome:
    """Runs the cells that the store does not hold yet, the most expensive groups first.

    A local store's folder of this kind is held meanwhile. A group that raises is run again cell by cell; a cell that
    raises is a dead letter. Without Beam flags, groups run in threads of this process.

    Args:
        store: a folder, local or on any fsspec file system that the workers reach too.
        kind: the kind's address, "module:ATTRIBUTE".
        configs: plain JSON; equal ones count once.
        beam_flags: flags for Beam.
        max_bad_share: the share of the grid's cells that may fail.
        what: names the sweep in its progress line.
        threads: groups that run at a time in each worker process. By default one for each processor in this process
            (or `kind.threads`), and one in each worker that Beam's flags ask for.

    Raises:
        UserError: the kind is unknown, a config is not plain JSON, the results will not fit on the disk, another
            process holds the store, or too many cells failed (the others are kept).
    """
    start = time.monotonic()
    options = job_options(beam_flags, [store])  # what is wrong with them shows before any work is done
    loaded = load_kind(kind)
    cells = cells_of(loaded, configs)
    into = Store(store, loaded)
    state = into.scan()
    check_room(into.folder, loaded, todo_of(loaded, cells, state).groups)
    into.make()
    with held(into.folder):
        files.remove_leftovers(into.folder, below=True)
        state = into.scan(state)
        todo = todo_of(loaded, cells, state)
        if todo.new:
            into.add(todo.new)
        alone = one_worker(beam_flags)
        here = getattr(loaded, "threads", None) or processors()
        at_a_time = threads or (here if alone else 1)
        workers = 1 if alone else max(1, options.view_as(DirectOptions).direct_num_workers)
        groups = todo.groups
        if groups:
            costs = costs_of(loaded, cells)
            groups = sorted(groups, key=lambda group: -_cost(group, costs))
            for group in groups:
                if group.name in state.records:
                    into.discard(group.name)
            work = RunGroups(
                store, kind, folder=into.folder, run=uuid.uuid4().hex, threads=at_a_time, at_once=at_a_time * workers
            )
            with _watching(into, what, cells, groups, costs):
                run_pipeline(
                    lambda pipeline: _build(pipeline, groups, work, spread=not alone), beam_flags, folder=into.folder
                )
            state = into.scan(state)
        wanted = [cell.identity for cell in cells]
        dead = tuple(state.dead[cell] for cell in wanted if cell in state.dead)
        done = sum(cell in state.done for cell in wanted)
        if done + len(dead) < len(cells):
            missing = len(cells) - done - len(dead)
            raise UserError(f"{missing:,} cells of {into.folder} went missing", "run the same sweep again")
        into.write_dead_letters(dead)
    if len(dead) > max_bad_share * len(cells):
        raise UserError(
            f"{len(dead):,} of {len(cells):,} cells failed, the first: {dead[0].reason} (config {dead[0].config})",
            f"the others are kept; see {into.folder}/dead_letters.jsonl, mend it and run the same command again, or"
            f" allow more by max_bad_share (now {max_bad_share:g})",
        )
    ran = sum(len(group.cells) for group in groups)
    return Outcome(done, ran, dead, time.monotonic() - start)


def _build(pipeline: beam.Pipeline, groups: Sequence[Group], work: RunGroups, *, spread: bool) -> object:
    # plain tuples: every coder knows them
    elements = [(group.name, group.key, [tuple(cell) for cell in group.cells]) for group in groups]
    found = pipeline | "Groups" >> beam.Create(elements, reshuffle=False)
    if spread:
        found |= "Spread groups" >> beam.Reshuffle()
    return found | "Run groups" >> beam.ParDo(work)


def _cost(group: Group, costs: dict[str, float]) -> float:
    return sum(costs[cell.identity] for cell in group.cells)


@contextmanager
def _watching(
    store: Store, what: str, cells: Sequence[Cell], groups: Sequence[Group], costs: dict[str, float]
) -> Iterator[None]:
    """A live line while groups run: cells done of all, and the time left by what they cost."""
    running = {group.name: (len(group.cells), _cost(group, costs)) for group in groups}
    before = len(cells) - sum(count for count, _ in running.values())
    whole = sum(costs.values())
    spent = whole - sum(cost for _, cost in running.values())
    with Progress(what, len(cells), "cells", start=before, share=spent / whole) as progress:

        def look() -> None:
            ended = [running[name] for name in store.finished() if name in running]
            done, cost = sum(count for count, _ in ended), sum(cost for _, cost in ended)
            progress.to(before + done, share=(spent + cost) / whole)

        with watched(look, store.folder):
            yield
