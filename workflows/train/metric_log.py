"""Where a run's numbers go: one JSON line per log point, and TensorBoard event files beside it."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from shammie import files
from shammie.errors import UserError, one_line

ROWS, EVENTS = "metrics.jsonl", "tensorboard"
Row = dict[str, Any]


class MetricLog:
    """The rows of a run, kept across its resumptions: every step has at most one.

    A remote file cannot be appended to: there the rows are written whole at each `flush`, and event files are left out.

    Args:
        out: the run's folder, which exists.
        step: where the run begins or resumes; rows of later steps, from before a kill, are dropped.

    Attributes:
        rows: all rows so far.
    """

    def __init__(self, out: str, step: int) -> None:
        self._path = files.join(out, ROWS)
        self.rows = [row for row in read_rows(self._path) if row["step"] <= step]
        self._local = files.is_local(out)
        self._write_whole()
        self._file = open(self._path, "ab") if self._local else None
        self._events: Any = None
        if self._local:
            from tensorboardX import SummaryWriter

            # TensorBoard hides what an earlier process wrote beyond this step
            self._events = SummaryWriter(files.join(out, EVENTS), purge_step=step + 1 if step else None)

    def add(self, row: Row) -> None:
        """Adds the row of a step; it is on disk when this returns."""
        self.rows.append(row)
        if self._file:
            with files.naming(self._path):
                self._file.write(_line(row))
                self._file.flush()
        numbers = {name: value for name, value in row.items() if name != "step" and isinstance(value, int | float)}
        for name, value in numbers.items():
            self._to_events(lambda events, *scalar: events.add_scalar(*scalar), name, value, row["step"])

    def flush(self) -> None:
        """Makes event files, and remote rows, as long as they should be."""
        self._to_events(lambda events: events.flush())
        if not self._local:
            self._write_whole()

    def close(self) -> None:
        """Flushes and closes."""
        self.flush()
        self._to_events(lambda events: events.close())
        if self._file:
            with files.naming(self._path):  # what a full disk did not take is written once more
                self._file.close()

    def _to_events(self, do: Callable[..., Any], *given: Any) -> None:
        """Event files are given up where they cannot be written: the rows are what counts.

        Their thread dies of a full disk, and whoever adds to its queue then would wait for ever, also at the exit.
        """
        if not self._events:
            return
        writer = self._events.file_writer.event_writer
        try:
            if not writer._worker.is_alive():
                raise OSError("their writer has died")
            do(self._events, *given)
        except OSError as error:
            writer._closed, self._events = True, None
            print(f"{self._path}: goes on without event files beside it ({one_line(error)})", file=sys.stderr)

    def _write_whole(self) -> None:
        files.write_bytes(self._path, b"".join(map(_line, self.rows)))


def read_rows(path: str) -> list[Row]:
    """The whole lines of a metrics file; a last one that a kill cut short is left out.

    Raises:
        UserError: another line is no row.
    """
    if not files.exists(path):
        return []
    rows = []
    for number, line in enumerate(files.read_bytes(path).split(b"\n")[:-1], start=1):
        try:
            row = files.json_object_of(line)
        except ValueError as error:
            raise UserError(f"{path} line {number} is damaged: {error}", "remove that line") from error
        if type(row.get("step")) is not int:
            raise UserError(f"{path} line {number} has no step", "remove that line")
        rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> bytes:
    # JSON has no NaN: a value that is none is left out
    kept = {name: value for name, value in row.items() if not (isinstance(value, float) and not math.isfinite(value))}
    return json.dumps(kept).encode() + b"\n"
