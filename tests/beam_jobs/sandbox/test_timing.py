"""What counts as out of time, on an idle machine and on a busy one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from beam_jobs.sandbox import Sandbox, Verdict
from beam_jobs.sandbox.timing import LOOK_S, Stopwatch, idle_limit, processor_seconds, wall_limit

PASSED, TIMEOUT, LONG_S = Verdict(True, ""), Verdict(False, "timeout"), 30.0
BUSY = (
    "import time\ndef f(seconds):\n    end = time.process_time() + seconds\n    while time.process_time() < end: pass\n"
)
BURN = "while True: pass"


def test_limits_of_the_clock() -> None:
    assert (wall_limit(1.0), wall_limit(4.0)) == (30.0, 40.0)
    assert (idle_limit(0.1), idle_limit(4.0)) == (2.0, 12.0)


def seconds_until_over(timeout_s: float, share: float, busy_s: float = 1e9) -> float:
    """When the time is up of what gets a share of a processor, until it sleeps; by a clock that only counts."""
    stopwatch, now = Stopwatch(timeout_s, 100.0), 100.0
    while wait_s := stopwatch.look_again_in(share * min(now - 100.0, busy_s), now):
        assert 0 < wait_s <= LOOK_S
        now += wait_s
    return now - 100.0


@pytest.mark.parametrize(
    ("timeout_s", "share", "busy_s", "over_s"),
    [
        (4.0, 1.0, 1e9, 4.0),  # alone
        (4.0, 0.2, 1e9, 20.0),  # one of five
        (4.0, 2.0, 1e9, 2.0),  # two processors by two threads
        (4.0, 0.05, 1e9, 40.0),  # sleeps, over and over
        (1.0, 0.01, 1e9, 30.0),
        (4.0, 1.0, 0.5, 12.5),  # sleeps for good
        (4.0, 0.0, 0.0, 12.0),
        (0.2, 1.0, 0.1, 2.1),
    ],
)
def test_time_is_up_by_the_first_limit_that_is_met(
    timeout_s: float, share: float, busy_s: float, over_s: float
) -> None:
    assert over_s <= seconds_until_over(timeout_s, share, busy_s) + 1e-6 < over_s + 2 * LOOK_S


def test_the_clock_of_another_process() -> None:
    burner = subprocess.Popen([sys.executable, "-S", "-c", BURN])
    try:
        while (first := processor_seconds(burner.pid)) < 0.2:
            time.sleep(0.01)
        while processor_seconds(burner.pid) < first + 0.05:
            time.sleep(0.01)
    finally:
        burner.kill()
        used = os.wait4(burner.pid, 0)[2]
        burner.returncode = -9
    assert first + 0.05 <= used.ru_utime + used.ru_stime + 0.02
    assert processor_seconds(burner.pid) == 0.0
    assert 0 < processor_seconds(os.getpid()) <= time.process_time()


@pytest.fixture
def loaded() -> Iterator[None]:
    """Twice as many processes that compute as there are processors."""
    burners = [subprocess.Popen([sys.executable, "-S", "-c", BURN]) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.mark.usefixtures("loaded")
def test_a_busy_machine_makes_no_program_fail() -> None:
    # alone it needs a quarter of its time; here each gets about a sixth of a processor
    with Sandbox(8) as sandbox, ThreadPoolExecutor(8) as threads:
        runs = [threads.submit(sandbox.run_python, BUSY, ["f(0.3)"], 1.2) for _ in range(16)]
        assert [run.result() for run in runs] == [PASSED] * 16
        endless = threads.submit(sandbox.run_python, BURN, ["f(0)"], 0.4)
        asleep = threads.submit(sandbox.run_python, "import time\ntime.sleep(1000)", ["f(0)"], 0.4)
        script = threads.submit(sandbox.run_stdin, BURN, [("", "")], 0.4)
        assert [endless.result(), asleep.result(), script.result()] == [TIMEOUT] * 3


def test_processor_time_decides_and_sleep_does_not_count(sandbox: Sandbox) -> None:
    assert sandbox.run_python(BUSY, ["f(0.1)", "f(0.1)"], 0.8) == PASSED
    assert sandbox.run_python(BUSY, ["f(0.5)", "f(0.5)"], 0.8) == TIMEOUT
    busy_here = "import time\nend = time.process_time() + {0}\nwhile time.process_time() < end: pass"
    assert sandbox.run_python("def f(): pass", [busy_here.format(0.9)], 0.8) == TIMEOUT  # the tests' time counts too
    assert sandbox.run_python("import time", ["time.sleep(1.2)"], 0.5) == PASSED
    assert sandbox.run_stdin("import time\ntime.sleep(1.2)", [("", "")], 0.5) == PASSED
    assert sandbox.run_python("import threading\nthreading.Lock().acquire(timeout=1.2)", ["1"], 0.5) == PASSED


def test_time_between_two_looks_counts(sandbox: Sandbox) -> None:
    # more than its time, less than the time until the first look
    busy = f"import time\nwhile time.process_time() < {LOOK_S / 2}: pass"
    assert sandbox.run_python(busy, ["1"], LOOK_S / 10) == TIMEOUT
    assert sandbox.run_stdin(busy, [("", "")], LOOK_S / 10) == TIMEOUT
    assert sandbox.run_python(busy, ["1"], LONG_S) == PASSED


@pytest.mark.slow
def test_what_sleeps_over_and_over_ends_at_the_limit_of_the_clock(sandbox: Sandbox) -> None:
    start = time.monotonic()
    assert sandbox.run_python("import time\nwhile True: time.sleep(0.5)", ["1"], 2.0) == TIMEOUT
    assert time.monotonic() - start >= wall_limit(2.0)
