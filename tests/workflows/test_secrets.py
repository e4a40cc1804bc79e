"""A key that someone gives, rightly or wrongly, is in no file, log or report of a run, and on no screen."""

import json
import logging
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient
from beam_jobs.inference.requests import Group, Request
from beam_jobs.rest_em.__main__ import main as rest_em
from shammie.errors import UserError
from workflows import provenance
from workflows.cli import main

ROOT = Path(__file__).parents[2]
local = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "beam_jobs" / "inference" / "server.py")))
KEY = "fake0key0that0nobody0has"
SMALL = ["--gin.QUESTIONS=2", "--gin.ROUNDS=1", "--gin.CANDIDATES=2", "--gin.SAMPLES=1", "--gin.WRITERS=('grammar',)"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with local.LocalServer() as server:
        server.model = lambda prompt, seed: "4"
        yield server


def everywhere(folder: Path) -> list[str]:
    """The files that hold the key, also in their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if KEY.encode() in path.read_bytes() or KEY in path.name]


def repeats_the_key(exchange: Any) -> None:
    """A server that shows what it was sent, wherever it can."""
    told = json.loads(exchange.completion())
    heard = exchange.headers["Authorization"]
    choice = told["choices"][0]
    for place in (choice, choice.get("message", {})):
        for name in ("text", "content"):
            if name in place:
                place[name] += f" I was told {heard}."
    exchange.reply(200, json.dumps(told).encode(), X_Echo=heard, Set_Cookie=f"key={heard}")


def test_a_run_of_an_audit(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whose server repeats the key, whose command line holds it, and in all that is logged at the finest level."""
    caplog.set_level(logging.DEBUG)
    server.always = {"": repeats_the_key}
    where = ["--endpoint", server.url, "--model", "m", "--out", str(tmp_path / "out")]
    words = ["run", "adversarial_arithmetic", *where, *SMALL]
    monkeypatch.setattr(sys, "argv", ["shammie", *words, f"--api-key={KEY}", "--token", "another0key0of0mine"])
    assert main(words) == 0
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    said = capfd.readouterr()
    assert KEY not in said.out + said.err + caplog.text
    assert everywhere(tmp_path) == []
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("report-*/step.json")]
    assert record["argv"][-3:] == ["--api-key=[…]", "--token", "[…]"]
    assert "another0key0of0mine" not in (tmp_path / "out" / "report.html").read_text()
    assert "--api-key=[…]" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 307, 200])
def test_a_server_that_refuses_and_repeats_the_key(
    server: Any, tmp_path: Path, capfd: Any, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"error": {"message": f"bad key {KEY}", "key": KEY}, "choices": [{"text": "x", "finish_reason": KEY}]}
    server.always = {
        "": local.says(status, body, Location=f"http://elsewhere/?key={KEY}&x={KEY}", WWW_Authenticate=KEY)
    }
    where = ["--endpoint", server.url, "--model", "m", "--out", str(tmp_path / "out")]
    fast = ["--gin.endpoint.EndpointConfig.backoff_s=0.0", "--gin.endpoint.EndpointConfig.attempts=1"]
    assert main(["run", "adversarial_arithmetic", *where, *SMALL, *fast]) == 2
    said = capfd.readouterr()
    assert "endpoint" in said.err
    assert KEY not in said.out + said.err + caplog.text
    assert everywhere(tmp_path) == []


def test_samples_of_rest_em(server: Any, tmp_path: Path, capfd: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.always = {"": repeats_the_key}
    problem = {"id": "x/1", "prompt": "1 + 1?", "verifier": "number", "answer": "2"}
    (tmp_path / "p.jsonl").write_text(json.dumps(problem) + "\n")
    folders = ["--problems", str(tmp_path / "p.jsonl"), "--output", str(tmp_path / "out")]
    served = ["--endpoint", server.url, "--endpoint_model", "m", "--samples", "3", "--new_tokens", "64"]
    assert rest_em(["sample", *folders, *served]) == 0
    said = capfd.readouterr()
    assert KEY not in said.out + said.err + caplog.text
    assert everywhere(tmp_path) == []
    assert len(list(tmp_path.rglob("answers.*.sqlite"))) == 1
    texts = "".join(path.read_text() for path in (tmp_path / "out").glob("*.jsonl"))
    assert texts.count("I was told Bearer") == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key_env": "sk-abcdefghijklmnop1234"},
        {"api_key_env": "hf_abcdefghijklmnop1234"},
        {"api_key_env": KEY},
        {"url": f"http://host/{KEY}/v1"},
        {"url": f"http://host/v1?api_key={KEY}"},
        {"url": f"http://me:{KEY}@host/v1"},
        {"extra": {"api_key": "abc"}},
        {"extra": {"options": [{"X-Api-Key": 1}]}},
        {"extra": {"user": KEY}},
    ],
)
def test_a_key_in_the_settings_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    with pytest.raises(UserError) as raised:
        EndpointConfig(**{"url": "http://host/v1", "model": "m", **wrong})
    assert "environment" in str(raised.value)
    assert not any(key in str(raised.value) for key in (KEY, "abcdefghijklmnop", "'abc'"))


def test_no_child_is_started_with_a_key(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `ps` shows to all users of a machine."""
    started: list[str] = []
    real = subprocess.Popen.__init__

    def watched(self: Any, args: Any, *rest: Any, **words: Any) -> None:
        started.append(str(args))
        real(self, args, *rest, **words)

    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    where = ["--endpoint", server.url, "--model", "m", "--out", str(tmp_path / "out")]
    assert main(["run", "adversarial_arithmetic", *where, *SMALL]) == 0
    assert provenance.git_state()["dirty"] is not None or not (ROOT / ".git").exists()
    assert started
    assert not any(KEY in one for one in started)


def test_a_client_shows_no_key_when_printed(server: Any) -> None:
    client = EndpointClient(EndpointConfig(server.url, "m"), local.GENERATION)
    try:
        client.answer(Group(0, (Request("a", "1 + 1?", 1),)))
        assert KEY not in repr(client) + repr(client.config) + str(vars(client.config))
    finally:
        client.close()


def test_an_error_of_the_library_shows_no_key(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert main(["run", "equal_info", f"--gin.{KEY}=1"]) == 2
    assert main([f"--{KEY}"]) == 2
    assert main(["run", KEY]) == 2
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
