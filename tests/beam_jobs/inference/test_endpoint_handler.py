import operator
import runpy
from pathlib import Path
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_handler import EndpointHandler
from beam_jobs.inference.requests import Answered, Completion
from beam_jobs.runner import pipeline_for_tests, run_pipeline
from shammie.errors import UserError

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("server.py"))))


def test_a_pipeline(server, tmp_path):
    server.faults = [local.says(429, {"error": "slow"}, Retry_After="0"), local.half_closes, local.says(200, b"{")]
    server.always = {"prompt 2 1": local.says(422, {"error": "no such words"})}
    groups = [local.many(6, number=number) for number in range(4)]
    config = EndpointConfig(server.url, "small", backoff_s=0.01, cache=str(tmp_path))
    handler = EndpointHandler(config, local.GENERATION)

    wanted = [list(local.expected(group)) for group in groups]
    wanted[2][1] = Completion(groups[2].requests[1].id, error="HTTP 422: no such words")

    def check(found: list[Answered]) -> None:  # Beam pickles it: it knows plain values alone
        assert len(found) == len(wanted)
        for answered in found:
            assert list(answered.completions) == wanted[answered.number]

    with pipeline_for_tests() as pipeline:
        answered = pipeline | beam.Create(groups) | RunInference(handler)
        assert_that(answered | beam.Map(operator.attrgetter("number")), equal_to([0, 1, 2, 3]), "numbers")
        assert_that(answered, check, "answers")
    counted = {
        one.key.metric.name: one.committed
        for one in pipeline.result.metrics().query()["counters"]
        if one.key.metric.namespace == "endpoint"
    }
    assert {name: counted[name] for name in ("requests", "retries", "cache_hits", "dead")} == {
        "requests": 24,
        "retries": 3,
        "cache_hits": 0,
        "dead": 1,
    }
    assert counted["num_inferences"] == 4
    assert len(server.bodies) == 27


def test_a_pipeline_whose_endpoint_is_down_ends_in_one_line(server):
    config = EndpointConfig(local.down_url(), "small", backoff_s=0.001)
    groups = [local.many(3, number=number) for number in range(3)]
    with pytest.raises(
        UserError, match=r"^endpoint http://127\.0\.0\.1:\d+/v1/completions is failing: 3 of 3 requests"
    ):
        run_pipeline(lambda p: p | beam.Create(groups) | RunInference(EndpointHandler(config, local.GENERATION)))
