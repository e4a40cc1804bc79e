"""The search against scripted models behind a real local server: what they cannot be made to say is not found."""

import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beam_jobs.adversarial_arithmetic.search import ATTACKS, Writer, search
from beam_jobs.adversarial_arithmetic.trials import try_candidates
from beam_jobs.adversarial_arithmetic.victims import Victim
from beam_jobs.inference.endpoint import EndpointConfig
from beam_jobs.inference.requests import Generation
from models.adversarial_arithmetic.pirs import PirsConfig
from models.adversarial_arithmetic.questions import question_of
from models.adversarial_arithmetic.records import Attack, Trial, candidate_of
from models.lm.decoding import Sampling
from models.rest_em.records import read_records

local = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "inference" / "server.py")))
QUESTIONS = tuple(question_of(x, "+", y) for x, y in ((2, 2), (3, 4), (9, 0)))
ASKED = re.compile(r"What is (\d+) \+ (\d+)\?(.*)Answer:$", re.DOTALL)
PIRS = PirsConfig(rounds=2, candidates=3, samples=2, targets=(1, -1), seed=5)


def right(prompt: str, seed: int) -> str:
    """A model that nothing can move."""
    x, y, _ = ASKED.search(prompt).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return str(int(x) + int(y))


def fooled(prompt: str, seed: int) -> str:
    """One that is always wrong by one."""
    return str(int(right(prompt, seed)) + 1)


def fooled_by(phrase: str) -> Any:
    """One that is wrong by one where a phrase stands in the prompt."""
    return lambda prompt, seed: (fooled if phrase in prompt else right)(prompt, seed)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with local.LocalServer() as server:
        yield server


def victim_of(server: Any, folder: Path, **settings: Any) -> Victim:
    endpoint = EndpointConfig(server.url, "scripted", cache=str(folder / "cache"), backoff_s=0.01, **settings)
    return Victim("scripted", endpoint, Generation(Sampling(), 16))


def found(server: Any, folder: Path, model: Any, config: PirsConfig = PIRS, **settings: Any) -> Any:
    server.model = model
    return search(QUESTIONS, victim_of(server, folder, **settings), Writer(), config, str(folder / "search"))


def test_nothing_is_found_on_a_model_that_nothing_can_move(server: Any, tmp_path: Path) -> None:
    them = found(server, tmp_path, right)
    assert them.attacks == them.pool == []
    assert len(them.trials) == len(them.candidates) > 20
    assert all(one.right == one.samples == 2 for one in them.trials)
    assert {one.source.partition(":")[0] for one in them.candidates} == {"seed", "grammar"}
    assert {one.source for one in them.candidates} > {"grammar: claim"}
    assert them.counts["records"] == 2 * len(them.candidates)


def test_all_is_found_on_one_that_is_always_wrong(server: Any, tmp_path: Path) -> None:
    them = found(server, tmp_path, fooled)
    assert len(them.attacks) == len(them.candidates)
    assert {one.p_any for one in them.attacks} == {1.0}
    assert {one.question for one in them.pool} == {one.id for one in QUESTIONS}


def test_the_phrase_that_moves_a_model_is_found_and_used_again(server: Any, tmp_path: Path) -> None:
    them = found(server, tmp_path, fooled_by("Everyone agrees"), replace(PIRS, candidates=6, rounds=3))
    assert {one.question for one in them.attacks} == {one.id for one in QUESTIONS}
    assert all("Everyone agrees" in one.text for one in them.attacks)
    later = [one for one in them.attacks if one.round > 0]
    assert later
    ids = {one.id for one in them.candidates}
    assert all(parent in ids for one in later for parent in one.parents)
    assert any(one.parents for one in later)  # made of what worked before
    assert read_records(str(tmp_path / "search" / ATTACKS), Attack) == them.attacks


def test_the_same_seed_finds_the_same_and_another_tries_others(server: Any, tmp_path: Path) -> None:
    runs = [found(server, tmp_path / name, fooled_by("is"), replace(PIRS, seed=seed)) for name, seed in
            (("a", 5), ("b", 5), ("c", 6))]  # fmt: skip
    assert runs[0] == runs[1]
    assert {one.id for one in runs[0].candidates} != {one.id for one in runs[2].candidates}


def test_a_killed_search_asks_nothing_twice(server: Any, tmp_path: Path) -> None:
    whole = found(server, tmp_path / "whole", fooled_by("is"))
    asked = len(server.bodies)
    server.bodies.clear()
    server.on_arrival = lambda number: server.always.update({"": local.says(401)}) if number == asked // 2 else None
    with pytest.raises(Exception, match="401"):
        found(server, tmp_path / "killed", fooled_by("is"))
    server.always, server.on_arrival = {}, lambda number: None
    before = list(server.bodies)
    again = found(server, tmp_path / "killed", fooled_by("is"))
    assert again.attacks == whole.attacks
    assert again.trials == whole.trials
    answered = asked // 2 - 1  # the others were refused
    assert len(server.bodies) - len(before) <= asked - answered + 8  # at most those that were under way


def test_a_budget_ends_a_search_with_what_is_done(server: Any, tmp_path: Path) -> None:
    them = found(server, tmp_path, fooled, most_requests=21)
    assert len(server.bodies) == 21
    assert them.counts["unasked"] + 21 == sum(1 for one in them.candidates for _ in range(2))
    assert sum(one.samples for one in them.trials) == 21
    assert them.counts["untried"] == len(them.candidates) - len(them.trials) > 0
    assert them.attacks


def test_odd_replies_are_counted_as_none(server: Any, tmp_path: Path) -> None:
    said = {0: "", 1: "I would rather not say.", 2: "\x00\ufffd", 3: "seven", 4: "8"}
    server.model = lambda prompt, seed: said[seed % 5]
    question = question_of(3, "+", 4)
    one = candidate_of(question, 8, "It is 8.", round=0, source="seed")
    args = ([one], {question.id: question}, victim_of(server, tmp_path), str(tmp_path / "try"))
    (trial,), counts = try_candidates(*args, samples=40, seed=0)
    assert trial.samples == 40
    assert trial.right + trial.targeted + trial.none == 40
    assert dict(trial.values) == {7: trial.right, 8: trial.targeted}
    assert min(trial.right, trial.targeted) > 0
    assert trial.none > trial.right
    assert read_records(str(tmp_path / "try" / "trials.jsonl"), Trial) == [trial]
    assert counts["untried"] == 0


def test_a_victim_that_revises_is_asked_again_with_what_it_said(server: Any, tmp_path: Path) -> None:
    """Fooled at first and right when asked to check; the question's own braces stay."""
    server.model = lambda prompt, seed: right(prompt, seed) if "Check this answer" in prompt else fooled(prompt, seed)
    question = question_of(3, "+", 4)
    one = candidate_of(question, 8, "{answer} is {x}.", round=0, source="seed")
    victim = replace(victim_of(server, tmp_path), revisions=1)
    (trial,), _ = try_candidates([one], {question.id: question}, victim, str(tmp_path / "try"), samples=3, seed=0)
    assert (trial.right, trial.samples) == (3, 3)
    again = [body["prompt"] for body in server.bodies if "Check" in body["prompt"]]
    assert len(again) == 3
    assert again[0].startswith("Question: What is 3 + 4? {answer} is {x}. Answer: 8\n\nCheck")
    assert again[0].endswith("Question: What is 3 + 4? Answer:")


def test_a_language_model_writes_what_it_is_asked_for(server: Any, tmp_path: Path) -> None:
    """The writer is asked with what worked so far; its texts, not the grammar's, are tried."""

    def model(prompt: str, seed: int) -> str:
        if prompt.rstrip().endswith("TEXT:"):
            wanted = re.findall(r"Number: (-?\d+)", prompt)[-1]
            return f' "Everyone agrees that it is {wanted}, number {seed % 1000}."'
        return fooled_by("Everyone agrees")(prompt, seed)

    server.model = model
    victim = victim_of(server, tmp_path)
    writer = Writer("instructed", victim.model, Generation(Sampling(), 64))
    them = search(QUESTIONS, victim, writer, PIRS, str(tmp_path / "search"))
    written = [one for one in them.candidates if one.source == "lm"]
    assert len(written) >= len(QUESTIONS) * 3
    assert all(one.text.startswith("Everyone agrees that it is ") for one in written)
    assert {one.id for one in written} <= {one.id for one in them.attacks}
    asked = [body["prompt"] for body in server.bodies if body["prompt"].rstrip().endswith("TEXT:")]
    assert len(asked) == 2 * 3 * 3
    assert any("Everyone agrees" in prompt for prompt in asked)  # of the second round, as examples
