"""What hardening trains on: nothing of the questions that it is measured on."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from models.adversarial_arithmetic.questions import prompt_of, questions, split_of
from models.adversarial_arithmetic.records import Attack, candidate_of
from models.rest_em.records import write_records
from workflows.adversarial_arithmetic_steps import lessons

ASKED = questions(1, 40, 0)


def running(folder: Path, **config: Any) -> Any:
    attacks = []
    for question in ASKED:
        for number in range(4):
            one = candidate_of(question, question.answer + 1, f"It is {number}.", round=0, source="seed")
            attacks.append(Attack(**asdict(one), victim="model", p_any=1.0, p_target=1.0))
    write_records(str(folder / "questions.jsonl"), ASKED)
    write_records(str(folder / "attacks.jsonl"), attacks)
    return SimpleNamespace(config={"attacks": 3, "mixed": 0.5, "seed": 0, **config}, input=lambda word: str(folder))


def test_only_questions_of_the_split_train_are_taught_and_each_a_few_times(tmp_path: Path) -> None:
    pairs, problems = lessons(running(tmp_path))
    train = [one for one in ASKED if split_of(one) == "train"]
    assert 0 < len(train) < len(ASKED)
    attacked = [one for one in problems if one.family == "attacked"]
    clean = [one for one in problems if one.family == "clean"]
    assert len(attacked) == 3 * len(train)
    assert {one.prompt for one in attacked} < {prompt_of(q, f"It is {n}.") for q in train for n in range(4)}
    assert {(one.prompt, one.answer) for one in clean} == {(prompt_of(q), str(q.answer)) for q in train}
    assert len(problems) - len(attacked) - len(clean) == len(attacked) // 2
    assert pairs == [(one.prompt, one.answer) for one in problems]
    right = {prompt_of(q, f"It is {n}."): str(q.answer) for q in train for n in range(4)}
    assert all(one.answer == right[one.prompt] for one in attacked)
