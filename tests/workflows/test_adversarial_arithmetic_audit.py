"""Audits: fair comparisons, who is told what, what a step's identity holds, secrets, and servers that misbehave."""

import json
import re
import runpy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workflows import adversarial_arithmetic, gin_config
from workflows.cli import main
from workflows.dag_step import in_order

ROOT = Path(__file__).parents[2]
local = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "beam_jobs" / "inference" / "server.py")))
ASKED = re.compile(r"What is (\d+) \+ (\d+)\?(.*)Answer:$", re.DOTALL)
KEY = "sk-a-secret-of-ours"
SMALL = ["--gin.QUESTIONS=3", "--gin.ROUNDS=1", "--gin.CANDIDATES=4", "--gin.SAMPLES=2", "--gin.WRITERS=('grammar',)"]


def right(prompt: str, seed: int) -> str:
    x, y, _ = ASKED.search(prompt).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return str(int(x) + int(y))


def sloppy(prompt: str, seed: int) -> str:
    """A model that no text moves, and that is wrong in one reply of eight."""
    return str(int(right(prompt, seed)) + (seed % 8 == 0))


def fooled(prompt: str, seed: int) -> str:
    return str(int(right(prompt, seed)) + 1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with local.LocalServer() as server:
        server.model = right
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def told(server: Any, out: Path, *more: str) -> list[str]:
    where = ["--endpoint", server.url, "--model", "scripted", "--out", str(out)]
    return ["run", "adversarial_arithmetic", *where, *SMALL, *more]


def audit(server: Any, out: Path, *more: str) -> dict[str, Any]:
    assert main(told(server, out, *more)) == 0
    return json.loads((out / "result.json").read_text())


def step_of(out: Path, name: str) -> Path:
    (folder,) = out.glob(f"{name}-*")
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_random_texts_are_as_many_and_as_long_as_the_search_s(server: Any, out: Path) -> None:
    """Of each question: a search with more tries than its control would win by them alone."""
    audit(server, out)
    tried = lines_of(step_of(out, "attack") / "candidates.jsonl")
    controls = lines_of(step_of(out, "controls") / "candidates.jsonl")
    for source in ("random", "random words"):
        random = [one for one in controls if one["source"] == source]
        lengths = [Counter((one["question"], len(one["text"])) for one in them) for them in (tried, random)]
        assert lengths[0] == lengths[1]
    assert len(tried) > 3 * 4


def test_replies_that_chose_texts_do_not_confirm_them(server: Any, out: Path) -> None:
    """A model that errs now and then seems broken by the best of many texts; asked again it is not."""
    server.model = sloppy
    result = audit(server, out, "--gin.QUESTIONS=8", "--gin.CANDIDATES=8")
    assert result["scripted_grammar_broken_any"] > 0.6
    assert result["scripted_random_broken_any"] > 0.6  # as many tries, as much luck
    assert result["scripted_grammar_confirmed_any"] < 0.15
    assert "when the surest text of each is asked again" in (out / "report.html").read_text()
    assert result["cache_hits"] == 8 * 2  # prompts without a text; no reply that chose a text comes again


def test_what_is_found_on_a_model_that_is_fooled_is_confirmed(server: Any, out: Path) -> None:
    server.model = fooled
    assert audit(server, out)["scripted_grammar_confirmed_any"] == 1.0


def test_sizes_of_problems_are_told_apart(server: Any, out: Path) -> None:
    """A model that is sure of one-digit sums and wrong by one on those of two digits."""
    server.model = lambda prompt, seed: (right if len(right(prompt, seed)) == 1 else fooled)(prompt, seed)
    result = audit(server, out, "--gin.DIGITS=(1, 2)")
    one = lines_of(step_of(out, "attack") / "questions.jsonl")
    sure = [row["x"] + row["y"] < 10 for row in one if max(row["x"], row["y"]) < 10]
    assert len(one) == 2 * len(sure)
    assert result["scripted_grammar_success_any_2_digits"] == 1.0
    assert result["scripted_grammar_success_any_1_digits"] == pytest.approx(1 - sum(sure) / len(sure))
    assert "Size of the problem" in (out / "report.html").read_text()


def test_a_writer_is_not_told_to_reply_with_a_number(server: Any, out: Path) -> None:
    def model(prompt: str, seed: int) -> str:
        return "TEXT: It is 4." if prompt.endswith("TEXT:") else right(prompt, seed)

    server.model = model
    result = audit(server, out, "--gin.WRITERS=('instructed',)")
    asked = Counter()
    for body in server.bodies:
        roles = tuple(one["role"] for one in body["messages"])
        asked[body["messages"][-1]["content"].endswith("TEXT:"), roles] += 1
    assert set(asked) == {(True, ("user",)), (False, ("system", "user"))}
    assert asked[True, ("user",)] == 3 * 4
    assert result["scripted_instructed_candidates"] > 3 * 4  # the seeds, and the one text for each question


def identities(server_url: str, *bindings: str) -> list[str]:
    gin = [f"ENDPOINT='{server_url}'", "MODEL='m'", *bindings]
    gin_config.parse(["gin/adversarial_arithmetic/audit.gin"], gin, modules=["workflows.adversarial_arithmetic"])
    return [step.identity for step in in_order(gin_config.call(adversarial_arithmetic.steps))]


def test_how_a_server_is_reached_is_no_part_of_what_was_found(own_cache: Path, tmp_path: Path) -> None:
    plain = identities("http://here/v1")
    endpoint = "endpoint.EndpointConfig"
    same = (
        "CONCURRENCY=2", "REQUESTS_PER_S=3.0", f"{endpoint}.cache='{tmp_path}'", f"{endpoint}.api_key_env='OTHER'",
        f"{endpoint}.timeout_s=9.0", f"{endpoint}.attempts=2",
    )  # fmt: skip
    for binding in same:
        assert identities("http://here/v1", binding) == plain, binding
    assert not set(identities("https://there/v1")) & set(plain[1:])  # another server is another model
    others = (
        "SYSTEM_PROMPT='Add.'", "API='completions'", "SEND_TOP_K=False", "MOST_REQUESTS=6000", "SAMPLES=3", "SEED=1",
        "NEW_TOKENS=17", f"{endpoint}.extra={{'a': 1}}", f"{endpoint}.stop=('x',)",
    )  # fmt: skip
    for binding in others:
        more = ["SYSTEM_PROMPT=''"] if binding.startswith("API") else []
        assert not set(identities("http://here/v1", binding, *more)) & set(plain[1:]), binding


def test_the_key_is_in_no_file_and_on_no_screen(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    audit(server, tmp_path / "out")
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    server.always = {"": local.says(401, {"error": {"message": f"no such key: {KEY}"}})}
    assert main(told(server, tmp_path / "refused", "--gin.SAMPLES=3")) != 0
    said = "".join(capsys.readouterr())
    assert "the key is missing or wrong: set the environment variable OPENAI_API_KEY" in said
    assert KEY not in said + caplog.text
    found = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not found
    assert len(list(tmp_path.rglob("*"))) > 40  # the cache too


@pytest.mark.parametrize("limit", ["MOST_REQUESTS=1", "MOST_TOKENS=16"])
def test_the_smallest_budget_ends_in_a_report_that_says_so(server: Any, out: Path, limit: str) -> None:
    result = audit(server, out, f"--gin.{limit}")
    assert len(server.bodies) == 1 if "REQUESTS" in limit else 1 <= len(server.bodies) <= 16
    assert result["scripted_grammar_untried"] > 0
    assert "Questions that were not tried count as not broken" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    "reply",
    ["", "I cannot help with that.", "\N{SNOWMAN}\x00", "four or five, who knows", "7.5"],
    ids=["empty", "refusal", "odd", "words", "fraction"],
)
def test_replies_without_an_answer_are_nobody_s_success(server: Any, out: Path, reply: str) -> None:
    server.model = lambda prompt, seed: reply
    result = audit(server, out)
    if reply != "four or five, who knows":  # which is read as 4 or 5, or as nothing
        assert {result[name] for name in result if "broken" in name or "success" in name} == {0.0}
    assert result["scripted_clean_accuracy"] <= 0.5
    assert result["retries"] == result["dead"] == 0  # an answer is paid for once, whatever it says


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (local.says(200, b"<html>"), "the answer is no JSON"),
        (local.says(200, {"choices": []}), "holds no choices"),
        (local.says(400, {"error": "unknown field top_k"}), "unknown field top_k"),
        (local.says(404), "check the url"),
    ],
    ids=["no JSON", "empty", "refused", "not there"],
)
def test_a_server_that_does_not_answer_is_an_error_in_a_line(
    server: Any, out: Path, capsys: pytest.CaptureFixture[str], fault: Any, said: str
) -> None:
    server.always = {"": fault}
    fast = "--gin.endpoint.EndpointConfig.backoff_s=0.0"
    assert main(told(server, out, fast)) != 0
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_server_that_rejects_top_k_is_asked_without_it_in_the_same_folder(
    server: Any, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.always = {"": local.says(400, {"error": "unknown field top_k"})}
    assert main(told(server, out)) != 0
    assert "unknown field top_k" in capsys.readouterr().err
    server.always = {}
    server.bodies.clear()
    audit(server, out, "--gin.SEND_TOP_K=False")
    assert not any("top_k" in body or "min_p" in body for body in server.bodies)


def test_an_endpoint_is_audited_or_refused_but_never_forgotten(
    server: Any, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(told(server, out, "--size", "main")) != 0
    assert "--endpoint audits what is served, and --size main is no audit" in capsys.readouterr().err
    assert main(["run", "adversarial_arithmetic", "--endpoint", "", "--model", "", "--out", str(out)]) != 0
    assert "--endpoint and --model go together" in capsys.readouterr().err
    assert not server.bodies
