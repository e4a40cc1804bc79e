"""What a benchmark prints: a table, its notes, and the targets with what was measured."""

import io
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """A number that was aimed for.

    Args:
        what: the measure in words, with its unit.
        measured: the value found.
        target: the value aimed for.
        better: whether more or less is better.
    """

    what: str
    measured: float
    target: float
    better: Literal["more", "less"] = "more"

    @property
    def reached(self) -> bool:
        """Whether the target is met, equality included."""
        return self.measured >= self.target if self.better == "more" else self.measured <= self.target


@dataclass(frozen=True)
class Table:
    """A titled table.

    Args:
        title: one line.
        columns: headings.
        rows: cells, numbers or text; as many in each row as there are headings.
        notes: lines below it.
        targets: measures with targets, printed below the rows.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default_factory=list)
    targets: Sequence[Target] = field(default_factory=list)

    def render(self) -> str:
        """The table as text for a terminal, without colours."""
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 140
        console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
        grids = [(self.columns, self.rows)]
        if self.targets:
            lines = [[t.what, t.measured, _aim(t), "yes" if t.reached else "NOT REACHED"] for t in self.targets]
            grids.append((["measure", "measured", "target", "reached"], lines))
        console.print(Text(self.title))
        for columns, rows in grids:
            grid = RichTable(show_header=any(columns))
            for place, name in enumerate(columns):
                numbers = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
                grid.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
            for row in rows:
                grid.add_row(*(Text(cell(value)) for value in row))
            console.print(grid)
        for note in self.notes:
            console.print(Text(note))
        assert isinstance(console.file, io.StringIO)
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON: title, rows as objects, notes, targets."""
        targets = [
            {"what": t.what, "measured": t.measured, "target": t.target, "better": t.better, "reached": t.reached}
            for t in self.targets
        ]
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes), "targets": targets}


def _aim(target: Target) -> str:
    return f"{'≥' if target.better == 'more' else '≤'} {cell(target.target)}"


def cell(value: Any) -> str:
    """A number with about three digits that matter; anything else as it prints."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def median_seconds(
    function: Callable[[], Any],
    repeats: int = 5,
    *,
    warmups: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median time of a call.

    Args:
        function: what is timed.
        repeats: timed calls, at least 1.
        warmups: calls before them, not timed.
        clock: seconds; tests inject one.
    """
    for _ in range(warmups):
        function()
    times = []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)
