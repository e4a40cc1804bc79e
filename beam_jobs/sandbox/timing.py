"""When a run's time is up: by the processor time that it has used, so that a busy machine does not decide.

A run of `timeout_s` is out of time when the first of these has passed:
    timeout_s of processor time, of the program and its tests together, whatever came of it meanwhile;
    IDLE_TIMES * timeout_s, but at least IDLE_S, of the clock in which it used none: it sleeps, or waits for nothing;
    WALL_TIMES * timeout_s, but at least WALL_S, of the clock in all: it sleeps again and again.
What computes and does not sleep can meet the last one only where it gets less than a tenth of a processor.
"""

import time

IDLE_TIMES, IDLE_S = 3.0, 2.0
WALL_TIMES, WALL_S = 10.0, 30.0
LOOK_S = 0.05  # between looks, so that neither limit is passed by more
_LEAST_LOOK_S = 0.002
_OF_A_PROCESS = 2  # a processor clock's kind, in the low bits of its number


def wall_limit(timeout_s: float) -> float:
    """Seconds of the clock after which a run is over in any case."""
    return max(WALL_TIMES * timeout_s, WALL_S)


def idle_limit(timeout_s: float) -> float:
    """Seconds of the clock that a run may go without any processor time."""
    return max(IDLE_TIMES * timeout_s, IDLE_S)


def processor_seconds(pid: int) -> float:
    """Processor time of a process and all its threads; 0 where there is no such process.

    It is read from the process's own clock, as clock_getcpuclockid(3) numbers it: to nanoseconds, and without /proc.
    """
    try:
        return time.clock_gettime((~pid << 3) | _OF_A_PROCESS)
    except OSError:
        return 0.0


class Stopwatch:
    """How long a run may go on.

    Args:
        timeout_s: the run's, of processor time.
        now: seconds of a clock that only goes forward, at the run's start.
    """

    def __init__(self, timeout_s: float, now: float) -> None:
        self._timeout_s, self._start = timeout_s, now
        self._used, self._stirred = 0.0, now

    def look_again_in(self, used: float, now: float) -> float:
        """Seconds until the next look at the run; 0 where its time is up.

        Args:
            used: its seconds of processor time.
            now: as at the start.
        """
        if used > self._used:
            self._used, self._stirred = used, now
        left = min(
            self._timeout_s - self._used,
            self._stirred + idle_limit(self._timeout_s) - now,
            self._start + wall_limit(self._timeout_s) - now,
        )
        return 0.0 if left <= 0 else max(min(left, LOOK_S), _LEAST_LOOK_S)
