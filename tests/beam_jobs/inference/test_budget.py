import runpy
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from beam_jobs.inference.budget import SPENT, Budget, Spending
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from shammie.errors import UserError

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("server.py"))))


def test_threads_and_processes_together_never_pass_the_limits(tmp_path):
    """Two objects on one folder stand for two processes."""
    budgets = [Budget(str(tmp_path), most_requests=50, most_tokens=0) for _ in range(2)]
    passed = []

    def spend(number):
        passed.extend(one for one in range(20) if budgets[number % 2].reserve(3))

    threads = [threading.Thread(target=spend, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(passed) == 50
    assert budgets[0].spent() == budgets[1].spent() == Spending(50, 150)
    for one in budgets:
        one.close()


def test_tokens_are_paid_before_and_given_back(tmp_path):
    budget = Budget(str(tmp_path), most_tokens=25)
    assert [budget.reserve(10) for _ in range(3)] == [True, True, False]
    budget.give_back(6)
    assert budget.reserve(10)
    assert budget.spent() == Spending(3, 24)
    budget.close()
    assert Budget(str(tmp_path), most_tokens=25).spent() == Spending(3, 24)  # another run


def test_a_client_asks_no_more_than_its_budget_and_says_what_it_left(server, clients, tmp_path):
    settings = {"cache": str(tmp_path), "most_requests": 12, "concurrency": 4}
    asked = local.many(30)
    answered = clients.make(**settings).answer(asked)
    assert len(server.bodies) == 12
    paid = sum(len(body["prompt"]) for body in server.bodies)  # a token is a character there
    told = {"requests": 30, "retries": 0, "cache_hits": 0, "dead": 0, "unasked": 18, "prompt_tokens": paid}
    assert answered.counters == told
    assert sum(one.error == SPENT for one in answered.completions) == 18
    assert [one for one in answered.completions if not one.error] == [
        one for one in local.expected(asked) if one.id in {done.id for done in answered.completions if not done.error}
    ]
    # what was paid for is there in the next run, which may not spend anything either
    again = clients.make(**settings).answer(asked)
    assert again.counters == {**told, "cache_hits": 12, "prompt_tokens": 0}
    more = clients.make(**{**settings, "most_requests": 20}).answer(asked)
    assert more.counters["cache_hits"] == 12
    assert len(server.bodies) == 20


def test_a_budget_may_lie_apart_from_the_cache(server, clients, tmp_path):
    """So that two jobs share answers, and each has its own limit."""
    first = clients.make(cache=str(tmp_path / "c"), budget=str(tmp_path / "a"), most_requests=5).answer(local.many(9))
    other = clients.make(cache=str(tmp_path / "c"), budget=str(tmp_path / "b"), most_requests=3).answer(local.many(9))
    assert first.counters["unasked"] == 4
    assert (other.counters["cache_hits"], other.counters["unasked"]) == (5, 1)
    assert len(server.bodies) == 8


def test_retries_are_paid_for(server, clients, tmp_path):
    server.always = {"bad": local.says(500)}
    client = clients.make(cache=str(tmp_path), most_requests=4, attempts=6, max_bad_share=1.0)
    answered = client.answer(local.group("bad"))
    assert len(server.bodies) == 4
    assert answered.counters == {
        "requests": 1,
        "retries": 3,
        "cache_hits": 0,
        "dead": 0,
        "unasked": 1,
        "prompt_tokens": 0,
    }


def test_a_limit_of_tokens_counts_what_answers_took(server, clients, tmp_path):
    client = clients.make(cache=str(tmp_path), most_tokens=100, concurrency=1)  # an answer may take 10
    answered = client.answer(local.many(30))
    took = sum(one.tokens for one in answered.completions)
    assert 90 < took <= 100
    assert Budget(str(tmp_path)).spent() == Spending(len(server.bodies), took)


def test_a_budget_needs_a_place():
    with pytest.raises(UserError, match="a budget needs a folder"):
        EndpointClient(EndpointConfig("http://host/v1", "m", most_requests=5), local.GENERATION)


def test_a_budget_that_cannot_be_kept_stops_the_job(tmp_path):
    (tmp_path / "spent.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"budget in .*: file is not a database"):
        Budget(str(tmp_path), most_requests=5)
    budget = Budget(str(tmp_path / "other"), most_requests=5)
    budget._do("DROP TABLE spent")  # as if the disk had failed meanwhile
    with pytest.raises(UserError, match=r"budget in .*: no such table"):
        budget.reserve(1)
    budget.close()
