"""A sweep as a step: the cells lie in a folder that all steps of a run share, their table in the step's own.

So a grid with one more row is another step that runs only that row's cells, and grids that overlap share them.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.sweep.cells import cells_of
from beam_jobs.sweep.job import outlook, read_cells, run_sweep
from beam_jobs.sweep.kinds import load_kind
from beam_jobs.sweep.store import lines_of, parquet_bytes
from shammie import files
from workflows.dag import Running, Source, Step
from workflows.dag_step import shared_folder
from workflows.step_costs import sweep_cost

CELLS, DEAD_LETTERS, SHARED = "cells.parquet", "dead_letters.jsonl", "cells"


def sweep_step(
    name: str,
    kind: str,
    configs: Sequence[Mapping[str, Any]],
    beam_flags: Sequence[str] = (),
    *,
    max_bad_share: float = 0.0,
    code: tuple[str, ...] = (),
    inputs: Mapping[str, Step | Source] | None = None,
    lasts: str = "",
) -> Step:
    """A step that runs a grid's cells and writes their table.

    The step's identity is that of the kind and of the cells in their order; what it writes: cells.parquet (see
    `beam_jobs.sweep.results.read_cells`; failed cells are absent) and dead_letters.jsonl (cell, config, reason). Cells
    lie in the run's shared folder "cells".

    Args:
        name: the step's.
        kind: the kind's address, "module:ATTRIBUTE"; its module's source is recorded with the step.
        configs: plain JSON; equal ones count once.
        beam_flags: flags for Beam.
        max_bad_share: the share of cells that may fail.
        code: further modules or packages whose source is recorded.
        inputs: steps that must have run before.
        lasts: as in `Step`.

    Raises:
        UserError: the kind is unknown, or a config is not plain JSON.
    """
    loaded = load_kind(kind)
    cells = cells_of(loaded, configs)
    digest = files.digest([cell.identity for cell in cells])
    return Step(
        name,
        functools.partial(_run, kind, configs, beam_flags, max_bad_share),
        config={"kind": loaded.name, "kind_version": loaded.version, "cells": len(cells), "cells_digest": digest},
        inputs=inputs or {},
        code=(kind.partition(":")[0], *code),
        lasts=lasts,
        outlook=lambda out: str(outlook(shared_folder(out, SHARED), kind, configs)),
        cost=lambda rates: sweep_cost(rates, SHARED, kind, configs),
    )


def _run(
    kind: str, configs: Sequence[Mapping[str, Any]], beam_flags: Sequence[str], max_bad_share: float, running: Running
) -> Mapping[str, Any]:
    store = running.shared(SHARED)
    what = f"{running.step.name}: cells done"
    outcome = run_sweep(store, kind, configs, beam_flags, max_bad_share=max_bad_share, what=what)
    files.write_bytes(running.path(CELLS), parquet_bytes(read_cells(store, kind, configs)))
    files.write_bytes(running.path(DEAD_LETTERS), lines_of(outcome.dead))
    return outcome.counters


def read_table(directory: str) -> pa.Table:
    """The table of a finished sweep step: "cell", "config" (JSON), then the kind's columns."""
    return pq.read_table(pa.BufferReader(files.read_bytes(files.join(directory, CELLS))))
