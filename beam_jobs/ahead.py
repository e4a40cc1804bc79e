"""One batch ahead, one behind: reading and writing run beside the work between them, in bounded memory."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, the next one made by a thread while this one is used; its errors are raised here."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    over = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not over.is_set():
            try:
                waiting.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        over.set()
        thread.join()


@contextmanager
def write_behind() -> Iterator[Callable[..., None]]:
    """Gives a function that runs calls in one thread, in order; it waits while two are not done.

    An error of a call is raised by a later one or at the end.
    """
    pending: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:

        def submit(function: Callable[..., Any], *arguments: Any) -> None:
            while len(pending) > 1:
                pending.pop(0).result()
            pending.append(pool.submit(function, *arguments))

        yield submit
        while pending:
            pending.pop(0).result()
