"""Threads that an interrupted process does not wait for."""

import atexit
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from shammie.errors import EXIT_INTERRUPTED

_in_work: set[Future[None]] = set()
_abandoned: set[Future[None]] = set()
_all: "weakref.WeakSet[Threads]" = weakref.WeakSet()


class Threads:
    """Runs calls in a number of threads, in their order.

    `concurrent.futures.ThreadPoolExecutor` would keep an interrupted process alive until the calls in work have ended,
    which may take as long as a group of trainings does. Here what is in work is lost with the process, as when it is
    killed.

    Args:
        count: the most calls at a time.
        name: the threads'.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._waiting: queue.SimpleQueue[tuple[Future[None], Callable[..., None], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._started = 0
        _all.add(self)

    def submit(self, call: Callable[..., None], *arguments: Any) -> Future[None]:
        """Has a call made as soon as a thread is free."""
        future: Future[None] = Future()
        self._waiting.put((future, call, arguments))
        if self._started < self._count:
            self._started += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def stop(self, *, abandon: bool = False) -> None:
        """Ends the threads; calls that have not begun are cancelled, those in work end by themselves.

        Args:
            abandon: the process is about to be left: at its exit nobody waits for those in work.
        """
        if abandon:
            _abandoned.update(_in_work)
        while not self._waiting.empty():
            try:
                waiting = self._waiting.get_nowait()
            except queue.Empty:  # a thread was quicker
                break
            if waiting is not None:
                waiting[0].cancel()
        for _ in range(self._started):
            self._waiting.put(None)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            future, call, arguments = waiting
            if not future.set_running_or_notify_cancel():
                continue
            _in_work.add(future)
            try:
                call(*arguments)
            except BaseException as error:  # whoever waits for the future gets it
                _in_work.discard(future)
                future.set_exception(error)
            else:
                _in_work.discard(future)
                future.set_result(None)
            _abandoned.discard(future)


@atexit.register
def _at_exit() -> None:
    """Waits for calls in work, or leaves at once where they are abandoned.

    A thread must not outlive Python: one that is in JAX would abort the process with a message of C++'s.
    """
    for threads in list(_all):
        threads.stop()
    if _abandoned:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(EXIT_INTERRUPTED)
    wait(list(_in_work))
