"""The sampling job against a real HTTP server that speaks OpenAI's protocol."""

import json
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.requests import seed_of
from beam_jobs.rest_em.sample import run
from beam_jobs.sharded import read_all
from models.rest_em.records import Sample
from shammie.errors import UserError

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "inference" / "server.py")))


@pytest.fixture
def server(monkeypatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with local.LocalServer() as server:
        yield server


@pytest.fixture
def served(job, server, tmp_path):
    def make(output: str = "samples", **settings):
        given: dict[str, Any] = {"backoff_s": 0.01, "attempts": 2, "cache": str(tmp_path / "cache"), "concurrency": 4}
        endpoint = EndpointConfig(server.url, "small", **(given | settings.pop("endpoint", {})))
        return job(output, model=endpoint, **settings)

    return make


def test_each_sample_is_a_request_with_its_own_seed(served, problems):
    run(served())
    prompts = {one.id: one.prompt for one in problems}
    samples = read_all(served().output, Sample)
    assert len(samples) == 80
    for one in samples:
        seed = seed_of(0, 1, one.problem, one.sample) & 0x7FFFFFFF
        assert one.text == local.text_of(prompts[one.problem], seed)[:6]


def test_faults_are_retried_and_what_stays_dead_is_a_letter(served, server):
    server.faults = [
        local.says(429, {"error": "slow"}, Retry_After="0"),
        local.says(500),
        local.half_closes,
        local.says(200, b"{"),
    ]
    server.always = {"3 + 0 =": local.says(422, {"error": "no such words"})}
    # one request may meet all four, if its retries come before the others arrive; 8 of the 80 stay dead, which is more
    # than a tenth of those so far where others come last
    manifest = run(served(max_bad_share=0.2, endpoint={"attempts": 5}))
    letters = [json.loads(line) for line in (Path(served().output) / "dead_letters.jsonl").read_text().splitlines()]
    assert manifest["counters"]["dead_letters"] == len(letters) == 8
    assert {one["reason"] for one in letters} == {"HTTP 422: no such words"}
    assert manifest["counters"]["records"] == 80 - len(letters)
    assert {one["id"] for one in letters}.isdisjoint(
        {f"{s.problem}#{s.sample}" for s in read_all(served().output, Sample)}
    )


def test_a_server_that_goes_down_stops_the_job_and_what_it_answered_is_kept(served, server):
    real = server.arrived
    count = 0

    def for_a_while(exchange):
        nonlocal count
        count += 1
        return real(exchange) if count <= 30 else local.closes

    server.arrived = for_a_while
    with pytest.raises(UserError, match="is failing"):
        run(served(max_bad_share=0.1))
    assert 30 < count < 60
    done = sorted(Path(served().output).glob("*.jsonl"))
    server.arrived, asked = real, count
    count = 0

    def counted(exchange):
        nonlocal count
        count += 1
        return real(exchange)

    server.arrived = counted
    manifest = run(served(max_bad_share=0.1))
    assert manifest["counters"]["records"] == 80
    assert count == 80 - 30  # none is asked for twice
    assert asked > 30
    assert set(done) <= set(Path(served().output).glob("*.jsonl"))


def test_few_dead_requests_also_stop_a_job_that_allows_none(served, server):
    server.always = {"0003 + 0 =": local.says(422, {"error": "no such words"})}
    with pytest.raises(UserError, match=r"of 80 samples failed, the first: sum/\d\d#0: HTTP 422: no such words"):
        run(served())
    server.always = {}
    assert run(served())["counters"]["records"] == 80


def test_another_model_name_is_another_job_and_another_url_is_not(served, server):
    first = run(served())
    with pytest.raises(UserError, match="another model"):
        run(replace(served(), model=replace(served().model, model="large")))
    assert first["config"]["model"]["endpoint"]["model"] == "small"
    assert "url" not in first["config"]["model"]["endpoint"]
