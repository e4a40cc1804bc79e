"""When requests may be sent, and when a job has to stop because too many of them fail."""

import threading
import time
from collections.abc import Callable

LEAST_FAILURES = 5


class Rate:
    """Lets requests pass one after another at a rate; threads may share it.

    Args:
        per_s: requests a second, evenly spaced; 0 for no limit.
        clock: seconds that only grow.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = float("-inf")

    def wait(self) -> None:
        """Returns when it is the caller's turn."""
        while True:
            with self._lock:
                now = self._clock()
                if now >= self._next:
                    self._next = now + self._interval_s
                    return
                wait_s = self._next - now
            self._sleep(wait_s)  # then others may have gone first, or all of us may be held

    def hold(self, seconds: float) -> None:
        """Lets no request pass for so long: a server that is too busy for one is too busy for all."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class Failures:
    """Counts requests with and without an answer, and says when to stop; threads may share it.

    Args:
        max_share: of all requests may stay without an answer; fewer than LEAST_FAILURES never stop a job by their
            share. Below 1, so many in a row that only failed attempts ended also stop it: the server is down.
    """

    def __init__(self, max_share: float) -> None:
        self.max_share = max_share
        self.answered = self.dead = 0
        self.last = ""
        self._row = 0
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def answer(self, *, kept: bool = False) -> None:
        """Counts an answer; one that was kept from before says nothing about the server."""
        with self._lock:
            self.answered += 1
            self._row = self._row if kept else 0

    def failure(self, reason: str, *, attempts_ended: bool) -> bool:
        """Counts a request that stays without an answer.

        Args:
            reason: why.
            attempts_ended: whether the server might have answered it another time; otherwise it refused this request.

        Returns:
            Whether the job has to stop.
        """
        with self._lock:
            self.dead += 1
            self.last = reason
            self._row = self._row + 1 if attempts_ended else 0
            many = self.dead >= LEAST_FAILURES and self.dead > self.max_share * (self.answered + self.dead)
            return many or (self._row >= LEAST_FAILURES and self.max_share < 1)

    def down(self) -> bool:
        """Whether there were requests and the server answered none, so that there is no use in going on."""
        with self._lock:
            return self._row > 0 and self._row == self.dead and not self.answered and self.max_share < 1

    def stop(self, error: BaseException) -> None:
        """Makes every `check` from now on raise this error, or an earlier one, and ends every `sleep`."""
        with self._lock:
            self._error = self._error or error
        self._stopped.set()

    def sleep(self, seconds: float) -> None:
        """Waits, but no longer than until the job is stopped."""
        self._stopped.wait(seconds)

    def check(self) -> None:
        """Raises the error that stopped the job, if it was stopped."""
        if self._error is not None:
            raise self._error
