"""What Beam's workers print themselves, beside their logs, is not shown while a command runs without --debug.

`shammie.logs` silences the loggers. But workers also print each failing element's stack trace, threads that are
cancelled at the end of a pipeline die of an exception, and workers in processes of their own inherit our stderr.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from apache_beam.runners.worker import log_handler, sdk_worker

from shammie import logs


def _print(*words: Any, **settings: Any) -> None:
    if not logs.are_quiet():
        print(*words, **settings)


@contextmanager
def quiet_workers(*, own_processes: bool) -> Iterator[None]:
    """Runs a pipeline without its workers' own words, where a command asks for that.

    Args:
        own_processes: whether workers are processes that this one starts.
    """
    if not logs.are_quiet():
        yield
        return
    for module in (sdk_worker, log_handler):  # for good: their threads may outlive the pipeline by a moment
        module.__dict__["print"] = _print
    if not isinstance(threading.excepthook, _Hook):
        threading.excepthook = _Hook(threading.excepthook)
    if not own_processes:
        yield
        return
    with logs.native_code_silenced():
        yield


class _Hook:
    """Leaves out what Beam's threads die of; the pipeline's own error says what went wrong."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, about: threading.ExceptHookArgs, /) -> None:
        trace, of_beam = about.exc_traceback, False
        while trace is not None:
            name = trace.tb_frame.f_globals.get("__name__", "")
            of_beam = of_beam or name.startswith("apache_beam.runners.")
            trace = trace.tb_next
        if not (of_beam and logs.are_quiet()):
            self._before(about)
