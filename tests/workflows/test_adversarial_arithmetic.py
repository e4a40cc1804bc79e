"""Audits of scripted models behind a real server, what gin files promise, and the study from end to end (slow)."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from workflows import adversarial_arithmetic, gin_config
from workflows.cli import main
from workflows.dag_step import in_order

ROOT = Path(__file__).parents[2]
local = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "beam_jobs" / "inference" / "server.py")))
ASKED = re.compile(r"What is (\d+) \+ (\d+)\?(.*)Answer:$", re.DOTALL)
SMALL = ["--gin.QUESTIONS=4", "--gin.ROUNDS=2", "--gin.CANDIDATES=4", "--gin.SAMPLES=2", "--gin.WRITERS=('grammar',)"]


def right(prompt: str, seed: int) -> str:
    x, y, _ = ASKED.search(prompt).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return str(int(x) + int(y))


def fooled_by(phrase: str) -> Any:
    return lambda prompt, seed: str(int(right(prompt, seed)) + (phrase in prompt))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with local.LocalServer() as server:
        yield server


def audit(server: Any, out: Path, *more: str) -> dict[str, Any]:
    told = ["--endpoint", server.url, "--model", "scripted", "--out", str(out), *SMALL, *more]
    assert main(["run", "adversarial_arithmetic", *told]) == 0
    return json.loads((out / "result.json").read_text())


def test_an_audit_finds_the_phrase_and_says_so(server: Any, tmp_path: Path) -> None:
    server.model = fooled_by("Everyone")
    result = audit(server, tmp_path / "out")
    assert result["scripted_grammar_broken_any"] == 1.0
    assert 0 < result["scripted_grammar_success_any"] < 0.8
    assert result["scripted_random_broken_any"] == 0.0
    assert result["scripted_clean_accuracy"] == 1.0
    assert result["requests"] == len(server.bodies) + result["cache_hits"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Everyone" in page
    assert "100 % [100, 100]" in page
    assert {body["messages"][0]["role"] for body in server.bodies} == {"system"}


def test_an_audit_of_a_model_that_nothing_moves_finds_nothing(server: Any, tmp_path: Path) -> None:
    server.model = right
    result = audit(server, tmp_path / "out")
    names = [name for name in result if "broken" in name or "success" in name]
    assert len(names) > 10
    assert all(result[name] == 0.0 for name in names)


def test_an_audit_keeps_its_budget_and_reports_what_is_done(server: Any, tmp_path: Path) -> None:
    server.model = fooled_by("is")
    result = audit(server, tmp_path / "out", "--gin.MOST_REQUESTS=60")
    assert len(server.bodies) == 60
    assert result["unasked"] > 0
    assert result["scripted_grammar_untried"] > 0
    assert "Unasked" in (tmp_path / "out" / "report.html").read_text()
    # with more money the same audit goes on from what is paid for
    more = audit(server, tmp_path / "out", "--gin.MOST_REQUESTS=80")
    assert more["unasked"] > 0


def test_an_endpoint_needs_its_model_and_a_system_that_audits(server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "adversarial_arithmetic", "--endpoint", server.url]) != 0
    assert "--endpoint and --model go together" in capsys.readouterr().err
    assert main(["run", "rest_em", "--endpoint", server.url, "--model", "m"]) != 0
    assert "unknown size of rest_em 'audit'" in capsys.readouterr().err


def test_a_server_that_is_down_is_an_error_for_people(
    own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--endpoint", local.down_url(), "--model", "m", "--out", str(tmp_path / "out"), *SMALL]
    assert main(["run", "adversarial_arithmetic", *told]) != 0
    error = capsys.readouterr().err
    assert "is failing" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("size", ["main", "tiny"])
def test_every_part_of_the_study_is_in_the_graph_once(size: str) -> None:
    gin_config.parse([f"gin/adversarial_arithmetic/{size}.gin"], [], modules=["workflows.adversarial_arithmetic"])
    (report,) = gin_config.call(adversarial_arithmetic.steps)
    names = [step.name for step in in_order([report])]
    hardened = {"main": 2, "tiny": 2}[size]
    assert names.count("harden") == hardened
    assert names.count("measure") == {"main": 3, "tiny": 4}[size]
    assert names.count("questions") == names.count("corpus") == names.count("report") == 1
    told = report.config["parts"]
    assert {one["part"] for one in told} >= {"attack", "controls", "measure", "again"}  # pyright: ignore
    assert len({one["step"] for one in told}) == len(told)  # pyright: ignore
    again: list[Any] = [report.inputs[one["step"]] for one in told if one["part"] == "again"]  # pyright: ignore
    assert [step.config["split"] for step in again] == ["test"] * (hardened + (2 if size == "tiny" else 1))


def test_a_model_of_ones_own_is_attacked_with_its_codec(tmp_path: Path, own_cache: Path) -> None:
    network = LMConfig(vocab_size=258, width=16, layers=1, heads=1, head_width=16, mlp_width=16, max_distance=8)
    params = DecoderLM(network).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    model, codec = tmp_path / "lm.bin", tmp_path / "codec.bin"
    model.write_bytes(TrainedLM(network, params, BytesCodec().fingerprint).to_bytes())
    BytesCodec().save(str(codec))
    told = ["run", "adversarial_arithmetic", "--size", "tiny", "--out", str(tmp_path / "out"), "--gin.SIZES=()"]
    told += [f"--gin.TARGET='{model}'", f"--gin.CODEC='{codec}'", "--gin.HARDENINGS=()", "--gin.WRITERS=('grammar',)"]
    assert main([*told, "--gin.QUESTIONS=3", "--gin.CORPUS=50"]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["given_grammar_candidates"] >= 3 * 4
    assert result["given_clean_accuracy"] < 0.5  # its weights are noise
    (taken,) = (tmp_path / "out").glob("target-*/lm.bin")
    assert taken.read_bytes() == model.read_bytes()
    codec.write_bytes(b"nonsense")
    assert main([*told, "--gin.QUESTIONS=3", "--gin.CORPUS=51"]) != 0


@pytest.mark.slow
def test_the_study_runs_from_end_to_end_and_resumes(tmp_path: Path, own_cache: Path) -> None:
    told = ["run", "adversarial_arithmetic", "--size", "tiny", "--out", str(tmp_path)]
    assert main(told) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    for model in ("small", "large"):
        assert 0 <= result[f"{model}_inverted_broken_any"] <= 1
        assert result[f"{model}_grammar_candidates"] > 12 * 4
    for name in ("start", "tuned", "policy", "revised"):
        assert 0 <= result[f"{name}_attacked_again_broken"] <= 1
    before = {one.name: one.stat().st_mtime_ns for one in tmp_path.iterdir() if one.is_dir()}
    assert main(told) == 0
    assert {one.name: one.stat().st_mtime_ns for one in tmp_path.iterdir() if one.is_dir()} == before
