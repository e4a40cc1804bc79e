"""Batches made by a thread, ahead of the steps that need them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

AHEAD = 2  # batches that wait on the devices
T = TypeVar("T")


class Ahead(Iterator[T]):
    """Items made by a thread while earlier ones are in use, in order; its error comes where the item would.

    Args:
        make: an input to its item.
        inputs: in order.
        depth: finished items that wait.
    """

    def __init__(self, make: Callable[[Any], T], inputs: Iterable[Any], depth: int = AHEAD) -> None:
        self._queue: queue.Queue[Callable[[], T]] = queue.Queue(depth)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(make, inputs), name="batches", daemon=True)
        self._thread.start()

    def _work(self, make: Callable[[Any], T], inputs: Iterable[Any]) -> None:
        try:
            for one in inputs:
                item = make(one)
                self._put(lambda item=item: item)
                del item  # the queue alone keeps it: it may be a large array on a device
                if self._over.is_set():
                    return
            error: BaseException = StopIteration()
        except BaseException as raised:
            error = raised
        self._put(lambda: _raise(error))

    def _put(self, take: Callable[[], T]) -> None:
        while not self._over.is_set():
            try:
                return self._queue.put(take, timeout=0.1)
            except queue.Full:
                continue

    def __next__(self) -> T:
        if self._over.is_set():
            raise StopIteration
        take = self._queue.get()
        try:
            return take()
        except BaseException:
            self._over.set()
            raise

    def close(self) -> None:
        """Stops the thread; nothing can be taken after it."""
        self._over.set()
        self._thread.join()


def _raise(error: BaseException) -> Any:
    raise error
