import runpy
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from beam_jobs.inference.requests import Completion, Generation, Group, Request
from models.lm.decoding import Sampling
from shammie.errors import UserError

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("server.py"))))
KEY = "sk-a-secret-of-ours"
PAGE = b"<html>log in</html>"
RECOVERED = {
    "429": local.says(429, {"error": "slow"}),
    "500": local.says(500, b"<html>"),
    "503": local.says(503, {"error": "loading"}),
    "no word": local.closes,
    "half a body": local.half_closes,
    "half of an unmeasured body": local.half_closes_unmeasured,
    "half a chunk": local.breaks_a_chunk,
    "bad JSON": local.says(200, b'{"choices": [{"text": "a'),
    "a page": local.says(200, PAGE, Content_Type="text/html"),
    "no choices": local.says(200, {"choices": []}),
    "an error with status 200": local.says(200, {"error": {"message": "no"}}),
    "packed, but not": local.says(200, b"{}", Content_Encoding="gzip"),
}


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_answers_are_those_of_the_server(server, clients, api):
    asked = local.many(20)
    answered = clients.make(api=api).answer(asked)
    assert list(answered.completions) == local.expected(asked)
    assert {one.finished for one in answered.completions} == {True, False}
    assert answered.counters == {"requests": 20, "retries": 0, "cache_hits": 0, "dead": 0}
    assert server.connections <= 8  # they are kept
    assert {one["Authorization"] for one in server.headers} == {f"Bearer {KEY}"}


def test_what_is_sent(server, clients):
    clients.make(stop=("\n\n",), log_probabilities=True, extra={"user": "us"}).answer(local.group("2+2="))
    assert server.paths == ["/v1/completions"]
    assert server.bodies[0] == {
        "model": "small",
        "prompt": "2+2=",
        "max_tokens": 10,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.0,
        "n": 1,
        "seed": 0,
        "stop": ["\n\n"],
        "logprobs": 1,
        "user": "us",
    }
    clients.make(Generation(Sampling(), 5), api="chat", system_prompt="Be brief.", url=server.url + "/").answer(
        local.group("2")
    )
    assert server.paths[1] == "/v1/chat/completions"
    assert server.bodies[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2"},
    ]
    assert server.bodies[1]["top_k"] == -1  # all
    assert not {"prompt", "stop", "logprobs"} & set(server.bodies[1])
    clients.make(send_top_k=False).answer(local.group("2+2="))
    assert not {"top_k", "min_p"} & set(server.bodies[2])


def test_seeds_are_the_low_31_bits(server, clients):
    clients.make(concurrency=1).answer(Group(0, (Request("a", "p", 2**63 - 1), Request("b", "p", 2**31 + 5))))
    assert [body["seed"] for body in server.bodies] == [2**31 - 1, 5]


@pytest.mark.parametrize(("api", "each"), [("completions", -0.25), ("chat", -0.5)])
def test_log_probabilities(clients, api, each):
    (one,) = clients.make(api=api, log_probabilities=True).answer(local.group("p")).completions
    assert one.log_probability == each * one.tokens != 0
    (one,) = clients.make(api=api).answer(local.group("p")).completions
    assert one.log_probability is None


@pytest.mark.parametrize("fault", RECOVERED.values(), ids=RECOVERED.keys())
def test_another_attempt_after(server, clients, fault):
    server.faults = [fault, fault]
    asked = local.many(3)
    answered = clients.make(concurrency=1).answer(asked)
    assert list(answered.completions) == local.expected(asked)
    assert answered.counters == {"requests": 3, "retries": 2, "cache_hits": 0, "dead": 0}
    assert [body["prompt"][-1] for body in server.bodies] == ["0", "0", "0", "1", "2"]
    assert clients.slept == [1.0, 2.0]  # doubling, at the top of the jitter


def test_a_right_answer_with_a_wrong_type(server, clients):
    body = {"choices": [{"text": "four", "finish_reason": "stop"}]}
    server.faults = [local.says(200, body, Content_Type="text/plain")]
    assert clients.make().answer(local.group("p")).completions[0].text == "four"


@pytest.mark.parametrize("fault", [local.hangs, local.trickles])
def test_a_server_that_takes_too_long(server, clients, fault):
    server.faults = [fault]
    asked = local.many(2)
    answered = clients.make(timeout_s=0.3).answer(asked)
    assert list(answered.completions) == local.expected(asked)
    assert answered.counters["retries"] == 1


def test_waits_grow_to_their_limit(server, clients):
    server.always = {"prompt": local.says(500)}
    client = clients.make(backoff_s=3, most_backoff_s=20, max_bad_share=1)
    (one,) = client.answer(local.many(1)).completions
    assert clients.slept == [3, 6, 12, 20, 20]
    assert one == Completion(one.id, error="HTTP 500")
    assert len(server.bodies) == 6


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_how_long(server, status):
    now = [1000.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    later = formatdate(time.time() + 3600, usegmt=True)
    for header, waits in [("7", [0.5, 6.5]), ("0.25", [0.5]), (later, [0.5, 29.5]), ("soon", [0.5]), ("-1", [0.5])]:
        slept: list[float] = []
        server.faults = [local.says(status, {"error": "busy"}, Retry_After=header)]
        config = EndpointConfig(server.url, "small", backoff_s=0.5, most_backoff_s=30)
        client = EndpointClient(config, local.GENERATION, clock=lambda: now[0], sleep=sleep, chance=lambda: 1.0)
        assert client.answer(local.many(1)).counters["retries"] == 1
        assert slept == pytest.approx(waits)
        client.close()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_a_dead_letter(server, clients, status):
    prompt = "a prompt that is longer than the server likes"
    said = {"error": {"message": f"{prompt!r} is too long, {KEY}, " + "x" * 500}}
    server.always = {"longer": local.says(status, said)}
    asked = local.group("short", prompt, "brief")
    answered = clients.make().answer(asked)
    assert [one.error[:40] for one in answered.completions] == [
        "",
        f"HTTP {status}: '[…]' is too long, […], xxxxxxx"[:40],
        "",
    ]
    assert len(answered.completions[1].error) < 250
    assert answered.completions[0] == local.expected(asked)[0]
    assert answered.completions[2] == local.expected(asked)[2]
    assert answered.counters == {"requests": 3, "retries": 0, "cache_hits": 0, "dead": 1}
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "cure"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "GET url/models"), (302, "that url")]
)
def test_what_no_attempt_can_mend(server, clients, status, cure):
    said = {"error": {"message": f"no: {KEY}"}}
    server.always = {"prompt": local.says(status, said, Location="http://127.0.0.1/elsewhere")}
    client = clients.make(concurrency=2)
    with pytest.raises(UserError) as raised:
        client.answer(local.many(50))
    assert cure in raised.value.cure
    assert server.url in raised.value.problem
    assert KEY not in str(raised.value)
    assert len(server.bodies) <= 4
    with pytest.raises(UserError):
        client.answer(local.many(1, number=1))
    assert len(server.bodies) <= 4


def test_the_key_never_shows(server, clients, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = clients.make(cache=str(tmp_path / "cache"))
    client.answer(local.many(1))
    monkeypatch.delenv("OPENAI_API_KEY")
    clients.make().answer(local.many(1))
    assert [one.get("Authorization") for one in server.headers] == [f"Bearer {KEY}", None]
    assert KEY not in repr(client.config)
    assert all(KEY.encode() not in path.read_bytes() for path in (tmp_path / "cache").iterdir())
    for bad in ("sk-1\nX: y", "sk-ü"):
        monkeypatch.setenv("OPENAI_API_KEY", bad)
        with pytest.raises(UserError) as raised:
            clients.make()
        assert bad[:4] not in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "host:8000/v1"},
        {"url": "ftp://host/v1"},
        {"url": "http://"},
        {"url": "http://host:port/v1"},
        {"url": "http://host/v1?key=1"},
        {"api": "responses"},
        {"system_prompt": "Be brief."},
        {"extra": {"n": 3}},
        {"extra": {"a": {1}}},
        {"concurrency": 0},
        {"timeout_s": 0},
        {"attempts": 0},
        {"requests_per_s": -1},
        {"max_bad_share": 1.5},
        {"max_bad_share": float("nan")},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(UserError):
        EndpointConfig(**({"url": "http://host/v1", "model": "small"} | wrong))


def test_a_password_in_the_url_is_not_shown():
    with pytest.raises(UserError) as raised:
        EndpointConfig("http://us:secret@host/v1", "small")
    assert "secret" not in str(raised.value)
