import json
import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from beam_jobs.inference.rate import Failures, Rate
from beam_jobs.inference.requests import Generation
from shammie.errors import UserError

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("server.py"))))
ROOT = Path(__file__).parents[3]


def test_an_endpoint_that_is_down_stops_the_job(clients, tmp_path):
    client = clients.make(url=local.down_url(), concurrency=2, cache=str(tmp_path))
    with pytest.raises(UserError, match=r"is failing: \d of \d requests .* the last: connection refused") as raised:
        client.answer(local.many(1000))
    assert str(tmp_path) in raised.value.cure
    assert len(clients.slept) <= 6 * 6  # five or six requests with six attempts each


def test_a_small_group_is_enough_to_see_that_it_is_down(clients):
    with pytest.raises(UserError, match="2 of 2 requests"):
        clients.make(url=local.down_url()).answer(local.many(2))


def test_one_bad_prompt_does_not_look_like_a_server_that_is_down(server, clients):
    server.always = {"long": local.says(400)}
    client = clients.make()
    assert client.answer(local.group("long")).counters["dead"] == 1
    assert client.answer(local.group("short", number=1)).counters["dead"] == 0


def test_the_share_of_failures_stops_the_job_and_keeps_what_is_done(server, clients, tmp_path):
    server.always = {"bad": local.says(400, {"error": "no"})}
    good = [f"good {one}" for one in range(40)]
    settings = {"concurrency": 1, "max_bad_share": 0.1, "cache": str(tmp_path / "cache")}
    asked = local.group(*good, *(f"bad {one}" for one in range(20)), *(f"late {one}" for one in range(9)))
    with pytest.raises(UserError, match="5 of 45 requests have no answer, the last: HTTP 400: no"):
        clients.make(**settings).answer(asked)
    assert len(server.bodies) in (45, 46)  # one may have begun
    server.always = {}
    answered = clients.make(**settings).answer(asked)
    assert list(answered.completions) == local.expected(asked)
    assert answered.counters["cache_hits"] in (40, 41)


def test_all_may_fail_where_that_is_allowed(clients):
    answered = clients.make(url=local.down_url(), max_bad_share=1.0, attempts=2).answer(local.many(30))
    assert answered.counters == {"requests": 30, "retries": 30, "cache_hits": 0, "dead": 30}
    assert {one.error for one in answered.completions} == {"connection refused"}


@pytest.mark.parametrize(
    ("fault", "backoff_s"), [(local.says(500), 60), (local.says(503, Retry_After="60"), 0)], ids=["backoff", "held"]
)
def test_sleepers_wake_when_the_job_stops(server, clients, fault, backoff_s):
    server.always = {"slow": fault}
    client = clients.make(sleep=None, backoff_s=backoff_s)
    errors = []

    def ask() -> None:
        with pytest.raises(UserError) as raised:
            client.answer(local.group("slow"))
        errors.append(str(raised.value))

    asking = threading.Thread(target=ask)
    asking.start()
    while not server.bodies:
        time.sleep(0.01)
    client._failures.stop(UserError("another thread's"))
    asking.join(30)
    assert errors == ["another thread's"]
    assert len(server.bodies) == 1


def test_failures_are_counted():
    of = Failures(0.5)
    for _ in range(5):
        of.answer()
        assert not of.failure("no", attempts_ended=False)
    assert of.failure("no", attempts_ended=False)  # 6 of 11
    of.answer()
    of.answer()
    of.answer()
    assert not of.failure("no", attempts_ended=False)  # 7 of 15
    of.check()
    of.stop(KeyError("first"))
    of.stop(ValueError("second"))
    with pytest.raises(KeyError):
        of.check()


def test_failures_in_a_row_are_counted():
    of = Failures(0.9)
    assert not of.down()
    for _ in range(4):
        assert not of.failure("no", attempts_ended=True)
    assert of.down()
    of.answer(kept=True)
    assert not of.down()
    assert of.failure("no", attempts_ended=True)  # 5 of 6, but in a row: what was kept tells nothing of the server
    of.answer()
    assert not of.failure("no", attempts_ended=True)


def test_what_was_answered_is_not_asked_again(server, clients, tmp_path):
    folder = str(tmp_path / "cache")
    asked = local.many(10)
    first = clients.make(cache=folder).answer(asked)
    assert len(server.bodies) == 10
    again = clients.make(cache=folder, url=local.down_url(), concurrency=3).answer(asked)  # wherever it is served
    assert again.completions == first.completions
    assert again.counters == {"requests": 10, "retries": 0, "cache_hits": 10, "dead": 0}
    for other in ({"model": "large"}, {"stop": ("x",)}, {"api": "chat"}, {"extra": {"a": 1}}):
        assert clients.make(cache=folder, **other).answer(asked).counters["cache_hits"] == 0
    assert (
        clients.make(Generation(local.GENERATION.sampling, 11), cache=folder).answer(asked).counters["cache_hits"] == 0
    )
    assert len(server.bodies) == 60


def test_failures_are_not_kept(server, clients, tmp_path):
    server.faults = [local.says(400)]
    settings = {"cache": str(tmp_path / "cache"), "concurrency": 1}
    assert clients.make(**settings).answer(local.many(2)).counters["dead"] == 1
    answered = clients.make(**settings).answer(local.many(2))
    assert list(answered.completions) == local.expected(local.many(2))
    assert answered.counters["cache_hits"] == 1


def test_the_number_of_threads_changes_nothing(server, clients):
    server.on_arrival = lambda number: time.sleep(0.02 * (number % 3))  # answers come in another order
    asked = local.many(40)
    one, eight = (clients.make(concurrency=number).answer(asked) for number in (1, 8))
    assert one == eight
    assert list(one.completions) == local.expected(asked)


def test_so_many_at_once_and_no_more(server, clients):
    gathered, most, at_once = threading.Barrier(4), [0], [0]
    lock = threading.Lock()

    def arrive(number: int) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        gathered.wait(20)  # four must come, or it breaks
        with lock:
            at_once[0] -= 1

    server.on_arrival = arrive
    client = clients.make(concurrency=4)
    threads = [threading.Thread(target=client.answer, args=(local.many(8, number=number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.bodies) == 24
    assert not gathered.broken
    assert most == [4]


def test_the_rate():
    now, passed = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    rate = Rate(4.0, lambda: now[0], sleep)
    for _ in range(4):
        rate.wait()
        passed.append(now[0])
    rate.hold(2)
    rate.hold(1)  # the longer one stays
    rate.wait()
    passed.append(now[0])
    now[0] += 5
    for _ in range(2):
        rate.wait()
        passed.append(now[0])
    assert passed == pytest.approx([0, 0.25, 0.5, 0.75, 2.75, 7.75, 8.0])


def test_attempts_keep_to_the_rate_too(server):
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    server.faults = [local.says(500)]
    config = EndpointConfig(server.url, "small", concurrency=1, requests_per_s=0.5, backoff_s=0.5)
    client = EndpointClient(config, local.GENERATION, clock=lambda: now[0], sleep=sleep, chance=lambda: 1.0)
    client.answer(local.many(3))
    client.close()
    assert slept == pytest.approx([0.5, 1.5, 2.0, 2.0])


KILLED = """
import sys
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from beam_jobs.inference.requests import Generation, Group, Request
from models.lm.decoding import Sampling
config = EndpointConfig(sys.argv[1], "small", cache=sys.argv[2], concurrency=1)
client = EndpointClient(config, Generation(Sampling(temperature=0.7, top_k=40, top_p=0.9), 10))
print("ready", flush=True)
client.answer(Group(0, tuple(Request(*one) for one in __import__("json").load(sys.stdin))))
print("not killed", flush=True)
"""


def test_a_killed_run_asks_only_what_is_missing(server, clients, tmp_path):
    asked = local.many(12)
    folder = str(tmp_path / "cache")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, server.url, folder],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    server.on_arrival = lambda number: process.kill() if number == 8 else None  # then seven are answered and kept
    out, _ = process.communicate(json.dumps([[one.id, one.prompt, one.seed] for one in asked.requests]))
    assert out == "ready\n"
    assert process.returncode == -9
    assert len(server.bodies) == 8
    server.on_arrival = lambda number: None
    answered = clients.make(cache=folder, concurrency=1).answer(asked)
    assert list(answered.completions) == local.expected(asked)
    assert answered.counters == {"requests": 12, "retries": 0, "cache_hits": 7, "dead": 0}
    assert [body["prompt"] for body in server.bodies[8:]] == [one.prompt for one in asked.requests[7:]]


LEAVING = """
import sys, threading
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from beam_jobs.inference.requests import Generation, Group, Request
from models.lm.decoding import Sampling
client = EndpointClient(EndpointConfig(sys.argv[1], "small", concurrency=2), Generation(Sampling(), 10))
group = Group(0, tuple(Request(str(number), "p", number) for number in range(1000)))
threading.Thread(target=client.answer, args=(group,), daemon=True).start()  # as Beam's threads do
sys.stdin.readline()
"""


def test_a_process_that_ends_does_not_ask_for_the_rest_of_its_group(server):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    words = [sys.executable, "-c", LEAVING, server.url]
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    leave = process.stdin
    assert leave is not None

    def arrive(number: int) -> None:
        if number == 4:
            leave.close()
        time.sleep(0.005)

    server.on_arrival = arrive
    try:
        process.wait(60)
    finally:
        process.kill()
    assert 4 <= len(server.bodies) < 500
