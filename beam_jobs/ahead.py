"""One batch ahead, one behind: reading and writing run beside the work between them, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


class Threads:
    """A thread that reads and one that writes; a DoFn keeps them, since every new thread would bring a heap of its own.

    Made in a DoFn's setup and closed in its teardown.
    """

    def __init__(self) -> None:
        self._reader, self._writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def read_ahead(self, items: Iterable[T]) -> Iterator[T]:
        """The same items, the next one made by the reader while this one is used; its errors are raised here."""
        iterator = iter(items)
        waiting = self._reader.submit(next, iterator, _END)
        try:
            while (item := waiting.result()) is not _END:
                waiting = self._reader.submit(next, iterator, _END)
                yield item
        finally:
            waiting.exception()  # the reader must not be left in the middle

    @contextmanager
    def write_behind(self) -> Iterator[Callable[..., None]]:
        """Gives a function that has the writer run calls in order; it waits while two are not done.

        An error of a call is raised by a later one or at the end, and no call is left running.
        """
        pending: list[Future[Any]] = []

        def submit(function: Callable[..., Any], *arguments: Any) -> None:
            while len(pending) > 1:
                pending.pop(0).result()
            pending.append(self._writer.submit(function, *arguments))

        try:
            yield submit
            while pending:
                pending.pop(0).result()
        finally:
            for future in pending:
                future.exception()

    def close(self) -> None:
        """Ends the threads."""
        self._reader.shutdown()
        self._writer.shutdown()
