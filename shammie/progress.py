"""One live line for long work: how far, how fast, how long still.

On a terminal `rich` draws it; elsewhere a plain line is printed now and then, so that logs stay readable.
"""

import sys
import time
from collections.abc import Callable

PLAIN_EVERY_S = 10.0


class Progress:
    """Counts work towards a total and shows it on stderr.

    Args:
        what: a few words that name the work.
        total: units of work, or None where unknown.
        unit: the word for one unit; "B" prints megabytes.
        start: work that was done before, by an earlier process: it counts, but not for the speed.
        share: the share of the whole effort that `start` was, where units take unequal time; see `to`.
        clock: seconds; tests inject one.
    """

    def __init__(
        self,
        what: str,
        total: float | None = None,
        unit: str = "",
        *,
        start: float = 0.0,
        share: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit, self.clock = what, total, unit, clock
        self.done = self._said = self._before = start
        self._share = self._share_before = share
        self._note = ""
        self._start = self._printed = clock()
        self._live = None

    def __enter__(self) -> "Progress":
        self._start = self._printed = self.clock()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self.line(), console=Console(stderr=True), transient=True, refresh_per_second=5)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        if self.done and self._said != self.done:
            self._print()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Adds work done; the note, if any, ends the line from now on."""
        self.to(self.done + amount, note)

    def to(self, done: float, note: str = "", *, share: float | None = None) -> None:
        """Sets the work done so far.

        Args:
            done: units.
            note: ends the line from now on.
            share: the share of the whole effort that they were, where units take unequal time: the time left goes by
                it instead of by units.
        """
        self.done, self._note, self._share = done, note or self._note, share
        if self._live:
            self._live.update(self.line())
        elif self.clock() - self._printed >= PLAIN_EVERY_S:
            self._print()

    def _print(self) -> None:
        self._printed, self._said = self.clock(), self.done
        print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The line as it stands: work, share, speed, time left, note."""
        seconds = max(self.clock() - self._start, 1e-9)
        speed = (self.done - self._before) / seconds
        parts = [f"{self.what}: {self._amount(self.done)}"]
        if self.total:
            share = self.done / self.total if self._share is None else self._share
            before = self._before / self.total if self._share_before is None else self._share_before
            left = (1 - share) * seconds / (share - before) if share > before else float("inf")
            parts[0] += f" of {self._amount(self.total)} ({self.done / self.total:.0%})"
            parts.append(f"{self._amount(speed)}/s")
            parts.append(f"{duration(left)} left" if self.done < self.total else f"took {duration(seconds)}")
        else:
            parts.append(f"{self._amount(speed)}/s")
        return ", ".join([*parts, self._note] if self._note else parts)

    def _amount(self, count: float) -> str:
        if self.unit == "B":
            return f"{count / 1e6:,.1f} MB"
        shown = f"{count:,.0f}" if count >= 100 or count == int(count) else f"{count:.3g}"
        return f"{shown} {self.unit}".rstrip()


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8 s, 3 min 20 s, 2 h 5 min."""
    if seconds == float("inf"):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
