"""Many texts side by side, for a model whose calls are dear: a row that is finished takes up the next text."""

from collections.abc import Callable

import numpy as np

from models.equal_info.streams.models import Model

LANES = 1024


def in_lockstep(
    model: Model,
    now: tuple[np.ndarray, np.ndarray],
    jobs: int,
    start: Callable[[int, int], None],
    advance: Callable[[np.ndarray], np.ndarray],
    finish: Callable[[int, int], bool],
) -> None:
    """Runs jobs to their ends.

    Args:
        model: is read one symbol at a time in all rows at work.
        now: memory [R, ...] and cumulative frequencies int32 [R, 257] of the rows.
        jobs: how many there are; job j waits until a row is free.
        start: (row, job) sets a row to a job.
        advance: rows, int64 [n], to the symbol that each must read, int64 [n]; -1 at its end.
        finish: (row, job) takes a job's result; false where it must go on.
    """
    memory, cumulative = now
    rows = min(len(memory), jobs)
    job_of, following = np.arange(rows), rows
    for row in range(rows):
        start(row, row)
    active = np.arange(rows)
    while len(active):
        reading, symbols, pending = [], [], active
        while len(pending):
            told = advance(pending)
            reading.append(pending[told >= 0])
            symbols.append(told[told >= 0])
            again = []
            for row in pending[told < 0].tolist():
                if not finish(row, int(job_of[row])):
                    again.append(row)
                elif following < jobs:
                    job_of[row] = following
                    start(row, following)
                    following += 1
                    again.append(row)
            pending = np.array(again, np.int64)
        active, symbol = np.sort(np.concatenate(reading)), np.concatenate(symbols)
        symbol = symbol[np.argsort(np.concatenate(reading), kind="stable")]
        if len(active):
            memory[active], cumulative[active] = model.predictor.read(memory[active], symbol, model.precision)
