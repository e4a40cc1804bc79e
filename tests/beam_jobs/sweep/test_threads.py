"""Threads that run groups: how many at a time, what stops, and that an interrupted process ends."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import pytest

from beam_jobs.sweep.threads import Threads

# a shell's background jobs ignore interrupts, and so would the tests' children there
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from beam_jobs.sweep.__main__ import main
sys.exit(main())
"""


def test_calls_run_at_most_so_many_at_a_time_and_errors_are_the_futures() -> None:
    both = threading.Barrier(2, timeout=60)
    seen: list[int] = []
    most: list[int] = []

    def call(number: int) -> None:
        seen.append(number)
        both.wait()  # two are in work, or this would break
        most.append(threading.active_count())
        both.wait()
        if number == 3:
            raise ValueError("three")

    before = threading.active_count()
    threads = Threads(2, "test")
    futures = [threads.submit(call, number) for number in range(6)]
    wait(futures)
    threads.stop()
    assert sorted(seen) == list(range(6))
    assert max(most) == before + 2
    assert [str(future.exception()) for future in futures if future.exception()] == ["three"]


def test_what_has_not_begun_is_cancelled() -> None:
    begun, go = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go.wait(60)

    threads = Threads(1, "test")
    first, second = threads.submit(call), threads.submit(call)
    assert begun.wait(60)
    threads.stop()
    assert second.cancelled()
    assert not first.done()
    go.set()
    wait([first])
    assert first.exception() is None


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_sweep_does_not_wait_for_the_groups_in_work(
    tmp_path: Path, ran: Callable[[], list[list[float]]], threads: int
) -> None:
    grid = tmp_path / "grid.json"
    grid.write_text(json.dumps([{"x": x, "width": x, "seconds": 600} for x in (1, 2, 3)]))
    words = ["--kind", "sweep_kinds:SQUARES", "--grid", grid, "--output", tmp_path / "store", f"--threads={threads}"]
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTIBLE, *map(str, words)], stderr=subprocess.PIPE)
    begun: list[list[float]] = []
    deadline = time.monotonic() + 120
    while len(begun) < threads and time.monotonic() < deadline:
        time.sleep(0.05)
        begun += ran()
    process.send_signal(signal.SIGINT)
    try:
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert told.decode().endswith("beam_jobs.sweep: interrupted; the same command resumes\n")
    assert len(begun + ran()) == threads, "no further group began"
    assert not (tmp_path / "store" / "squares-v1" / ".lock").exists()
