"""A search's limits, against a real local server: a kill, the rate, the requests under way, and a budget."""

import os
import re
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.adversarial_arithmetic.search import Found, Writer, search
from beam_jobs.adversarial_arithmetic.victims import Victim
from beam_jobs.inference.budget import Budget
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.requests import Generation
from models.adversarial_arithmetic.pirs import PirsConfig
from models.adversarial_arithmetic.questions import question_of
from models.lm.decoding import Sampling
from shammie.errors import UserError

ROOT = Path(__file__).parents[3]
local = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "beam_jobs" / "inference" / "server.py")))
QUESTIONS = tuple(question_of(x, "+", y) for x, y in ((2, 2), (3, 4), (9, 0)))
ASKED = re.compile(r"What is (\d+) \+ (\d+)\?(.*)Answer:$", re.DOTALL)
PIRS = PirsConfig(rounds=2, candidates=3, samples=4, targets=(1, -1), seed=5)
AT_ONCE = 4
KILLED = """
import sys
from test_search_limits import run
run(sys.argv[1], sys.argv[2])
"""


def answered(prompt: str, seed: int) -> str:
    """A model that is wrong by one where "is" stands in the prompt's text."""
    x, y, text = ASKED.search(prompt).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return str(int(x) + int(y) + (" is " in text))


def run(url: str, folder: str, **settings: Any) -> Found:
    settings = {"concurrency": AT_ONCE, "most_requests": 10_000} | settings
    endpoint = EndpointConfig(url, "scripted", cache=f"{folder}/cache", **settings)
    victim = Victim("scripted", endpoint, Generation(Sampling(), 16))
    return search(QUESTIONS, victim, Writer(), PIRS, f"{folder}/search")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with local.LocalServer() as server:
        server.model = answered
        yield server


def test_a_search_that_is_killed_loses_no_paid_request(server: Any, tmp_path: Path) -> None:
    """Killed in its second round; what was answered by then is not asked again, and the end is the same."""
    whole = run(server.url, str(tmp_path / "whole"))
    asked = len(server.bodies)
    assert asked == whole.counts["records"] == 4 * len(whole.candidates)
    first_round = 4 * sum(one.round == 0 for one in whole.candidates)
    killed_at = asked + (first_round + asked) // 2
    dead, process = threading.Event(), []

    def kill(number: int) -> None:
        if number == killed_at:
            process[0].kill()
            process[0].wait()
            dead.set()

    server.on_arrival = kill
    command = [sys.executable, "-c", KILLED, server.url, str(tmp_path / "killed")]
    process.append(subprocess.Popen(command, cwd=Path(__file__).parent, env=_environment()))
    assert dead.wait(60)
    assert process[0].returncode == -9
    server.on_arrival = lambda number: None
    time.sleep(0.1)  # handlers of what was under way end
    again = run(server.url, str(tmp_path / "killed"))
    assert (again.attacks, again.trials, again.pool) == (whole.attacks, whole.trials, whole.pool)
    assert whole.attacks
    twice = len(server.bodies) - 2 * asked
    assert 1 <= twice <= AT_ONCE  # at most what was under way
    paid = Budget(str(tmp_path / "killed" / "cache")).spent().requests
    assert asked + twice <= paid <= asked + AT_ONCE  # what was paid for counts, whether or not it left


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_search_keeps_so_many_requests_under_way_and_no_more(server: Any, tmp_path: Path) -> None:
    under_way, most, gathered, lock = [0], [0], threading.Event(), threading.Lock()

    def model(prompt: str, seed: int) -> str:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            if under_way[0] == AT_ONCE:
                gathered.set()
        assert gathered.wait(20)
        with lock:
            under_way[0] -= 1
        return answered(prompt, seed)

    server.model = model
    found = run(server.url, str(tmp_path))
    assert gathered.is_set()
    assert most[0] == AT_ONCE
    assert found.counts["retries"] == found.counts["untried"] == 0


def test_a_search_is_not_faster_than_its_rate(server: Any, tmp_path: Path) -> None:
    """A bound from below alone: a busy machine may only be slower. Each round's first request waits for nothing."""
    arrived: list[float] = []
    server.on_arrival = lambda number: arrived.append(time.monotonic())
    rate = 60.0
    run(server.url, str(tmp_path), requests_per_s=rate)
    assert len(arrived) > 80
    assert max(arrived) - min(arrived) >= 0.95 * (len(arrived) - PIRS.rounds) / rate


def test_retries_of_a_busy_server_are_paid_for_and_change_nothing(server: Any, tmp_path: Path) -> None:
    whole = run(server.url, str(tmp_path / "whole"))
    asked = len(server.bodies)
    server.faults = [local.says(429, Retry_After="0")] * 3 + [local.says(200, {"choices": []}), local.closes]
    again = run(server.url, str(tmp_path / "busy"), backoff_s=0.01)
    assert (again.attacks, again.trials) == (whole.attacks, whole.trials)
    assert again.counts["retries"] == 5
    assert len(server.bodies) == 2 * asked + 5
    assert Budget(str(tmp_path / "busy" / "cache")).spent().requests == asked + 5


def test_a_budget_that_allows_no_answer_is_an_error(server: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a budget of 15 tokens allows no answer of up to 16"):
        run(server.url, str(tmp_path), most_tokens=15)
    assert not server.bodies
