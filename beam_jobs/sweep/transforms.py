"""A group of cells as one Beam element: it runs, and its rows and record go to the store."""

import functools
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics

from beam_jobs.runner import for_the_driver
from beam_jobs.sweep.cells import Cell, table_of, table_schema
from beam_jobs.sweep.kinds import Kind, load_kind
from beam_jobs.sweep.store import Group, Store
from beam_jobs.sweep.threads import Threads
from beam_jobs.sweep.ways import Ways
from shammie.errors import one_line
from shammie.lock import host
from shammie.packages import check_packages_are_ours

NAMESPACE = "sweep"
TRACE_CHARACTERS = 4000


class RunGroups(beam.DoFn):
    """Groups in; their names out, as far as they run one at a time. What they make is in the store.

    Args:
        store: the store's folder.
        address: the kind's.
        folder: the kind's within the store, where errors are left for the driver.
        run: names this run: the workers of one process share the measured ways.
        threads: groups that a worker runs at a time. Its bundle ends when all of them have.
        at_once: groups that all workers together run at a time; goes into the records, for estimates.
    """

    def __init__(self, store: str, address: str, *, folder: str, run: str, threads: int, at_once: int) -> None:
        self.folder = folder
        self.store, self.address, self.run, self.threads, self.at_once = store, address, run, threads, at_once
        self._pool: Threads | None = None
        self._futures: list[Future[None]] = []

    def setup(self) -> None:
        """Finds the kind."""
        with for_the_driver(self.folder):
            check_packages_are_ours()
            self._kind = load_kind(self.address)
            getattr(self._kind, "prepare", lambda: None)()
            self._into = Store(self.store, self._kind)
            self._ways = _ways(self._into.ways, self.run)

    def process(self, element: Any) -> Iterator[str]:
        """Runs a group, given as plain tuples, or hands it to a thread."""
        name, key, cells = element
        group = Group(name, key, tuple(Cell(*cell) for cell in cells))
        if self.threads == 1:
            self._work(group)
            yield group.name
            return
        if self._pool is None:
            self._pool = Threads(self.threads, "sweep")
        self._futures.append(self._pool.submit(self._work, group))

    def finish_bundle(self) -> None:
        """Waits for the threads; the first error ends the bundle, and groups that have not begun do not begin."""
        pool, self._pool = self._pool, None
        futures, self._futures = self._futures, []
        if pool is None:
            return
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except KeyboardInterrupt:
            pool.stop(abandon=True)
            raise
        finally:
            pool.stop()

    def _work(self, group: Group) -> None:
        with for_the_driver(self.folder):
            failed = run_group(self._kind, group, self._into, self._ways, at_once=self.at_once)
        if self.threads == 1:  # counters belong to Beam's own threads
            Metrics.counter(NAMESPACE, "cells").inc(len(group.cells))
            Metrics.counter(NAMESPACE, "failed").inc(failed)


@functools.lru_cache(maxsize=8)
def _ways(folder: str, run: str) -> Ways:
    return Ways(folder)


def run_group(kind: Kind, group: Group, store: Store, ways: Ways, *, at_once: int = 1) -> int:
    """Runs a group and writes what came of it; one that fails runs again cell by cell.

    Returns:
        How many of its cells failed.
    """
    start = time.perf_counter()
    table, dead = _run(kind, group.cells, ways)
    seconds = time.perf_counter() - start
    record = {
        "seconds": seconds,
        "cost": sum(float(kind.cost(cell.config)) for cell in group.cells),
        "host": host(),
        "at_once": at_once,
        "rows": table.num_rows,
        "dead": dead,
    }
    store.write(group, table, record)
    return len(dead)


def _run(kind: Kind, cells: Sequence[Cell], ways: Ways) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The rows of the cells that did not fail, and the dead letters of the others."""
    try:  # rows that do not fit the schema are a failure as well
        return table_of(kind, cells, kind.run([cell.config for cell in cells], ways)), []
    except Exception as error:
        if len(cells) == 1:
            trace = "".join(traceback.format_exception(error))[-TRACE_CHARACTERS:]
            letter = {"cell": cells[0].identity, "reason": one_line(error), "trace": trace}
            return table_schema(kind).empty_table(), [letter]
    alone = [_run(kind, [cell], ways) for cell in cells]
    whole = pa.concat_tables(table for table, _ in alone).combine_chunks()
    return whole, [letter for _, dead in alone for letter in dead]
