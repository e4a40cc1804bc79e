"""A polite end: the first SIGTERM or Ctrl-C lets the current call finish and be saved; a second one acts at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether this process was asked to stop, and by which signal."""

    requested = False
    number: int = signal.SIGINT


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Within it the first signal only sets `requested`. Outside the main thread, where Python hears none, nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[signal.Signals, Any] = {one: signal.getsignal(one) for one in SIGNALS}

    def put_back() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.requested, stop.number = True, number
        put_back()

    for one in SIGNALS:
        signal.signal(one, ask)
    try:
        yield stop
    finally:
        put_back()


def any_asked(stop: Stop, *, hosts: int, at_log_point: bool) -> bool:
    """Whether the run is to stop now, the same on every process: several agree at log points only."""
    if hosts == 1:
        return stop.requested
    if not at_log_point:
        return False
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(stop.requested)).any())
