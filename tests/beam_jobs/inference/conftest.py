"""The local server, and clients of it that do not sleep."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.endpoint_client import EndpointClient

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("server.py"))))
KEY = "sk-a-secret-of-ours"


@pytest.fixture
def proxies(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def server(proxies) -> Iterator[Any]:
    with local.LocalServer() as server:
        yield server


@pytest.fixture
def clients(server) -> Iterator[Any]:
    """Makes clients that do not sleep; `clients.slept` is how long they would have."""
    made, slept = [], []

    def make(generation=local.GENERATION, *, url=server.url, sleep=slept.append, **settings: Any) -> EndpointClient:
        config = EndpointConfig(url, settings.pop("model", "small"), **settings)
        made.append(EndpointClient(config, generation, sleep=sleep, chance=lambda: 1.0))
        return made[-1]

    yield SimpleNamespace(make=make, slept=slept)
    for client in made:
        client.close()
