"""Measures against counts by hand, and what seeds say together."""

import json
from pathlib import Path

import pytest

from models.rest_em.records import Graded, Problem
from workflows.rest_em_measures import Found, Place, measure, over_seeds


def _graded(problem: str, sample: int, answer: str, passed: bool) -> Graded:
    return Graded(problem, sample, answer, 1, True, passed, "" if passed else "wrong answer", answer, "number@1")


PROBLEMS = [
    Problem(id=name, prompt=name, verifier="number", level=level, answer="1")
    for name, level in (("a", 1), ("b", 1), ("c", 2), ("d", 2))
]
GREEDY = [
    _graded("a", 0, "1", True),
    _graded("b", 0, "2", False),
    _graded("c", 0, "1", True),
    _graded("d", 0, "1", True),
]
DRAWN = {"a": "1122", "b": "2222", "c": "2221", "d": "1111"}


def test_measures_of_one_model() -> None:
    drawn = [
        _graded(name, n, answer, answer == "1") for name, answers in DRAWN.items() for n, answer in enumerate(answers)
    ]
    found = measure(PROBLEMS, GREEDY, drawn[::-1])
    assert (found["problems"], found["pass_at_1"], found["failed"]) == (4, 0.75, {"wrong answer": 1})
    assert found["levels"] == {"1": [1, 2], "2": [2, 2]}
    assert found["low"] == pytest.approx(0.3006, abs=1e-3)  # Wilson, 3 of 4
    assert found["rates"] == {"a": 0.5, "b": 0.0, "c": 0.25, "d": 1.0}
    assert found["pass_at"]["1"] == pytest.approx((0.5 + 0 + 0.25 + 1) / 4)
    assert found["pass_at"]["2"] == pytest.approx(((1 - 1 / 6) + 0 + (1 - 3 / 6) + 1) / 4)
    assert found["pass_at"]["4"] == 0.75
    # a's first is right, its vote of four is tied; c's vote is wrong
    assert found["majority_at"] == {"1": 0.5, "2": 0.5, "4": pytest.approx((0.5 + 0 + 0 + 1) / 4)}
    assert "pass_at" not in measure(PROBLEMS, GREEDY)


def _found(tmp_path: Path) -> Found:
    shares = {
        ("", 0): (0.40, 0.50),
        ("rest_em", 1): (0.46, 0.52),
        ("rest_em", 2): (0.50, 0.58),
        ("sft", 1): (0.45, 0.55),
    }
    places = []
    for (variant, iteration), values in shares.items():
        for seed, share in enumerate(values):
            folder = tmp_path / f"{variant}{iteration}{seed}"
            folder.mkdir()
            rates = {"x": share, "y": 1.0 if iteration else 0.8}
            (folder / "measures.json").write_text(json.dumps({"test": {"pass_at_1": share, "rates": rates}}))
            places.append(Place("s", seed, variant, iteration, {"evaluate": str(folder)}))
    return Found([*places, Place("s", 0, "unmeasured", 1, {})])


def test_gains_are_paired_by_seed_in_points(tmp_path: Path) -> None:
    found = _found(tmp_path)
    assert found.iterations("s", "rest_em") == 2
    assert found.iterations("s", "other") == 0
    assert found.values("s", "rest_em", 1) == [0.46, 0.52]
    assert found.gains("s", "rest_em", 2) == pytest.approx([10.0, 8.0])
    assert found.gains("s", "rest_em", 2, over="sft") == pytest.approx([5.0, 3.0])
    assert found.gains("s", "unmeasured", 1) == []
    low, mean, high = over_seeds(found.gains("s", "rest_em", 2))
    assert (low, mean, high) == pytest.approx((9 - 12.706, 9.0, 9 + 12.706), abs=1e-2)
    assert over_seeds([3.0]) == (3.0, 3.0, 3.0)


def test_buckets_are_of_the_base_s_rates(tmp_path: Path) -> None:
    gains = _found(tmp_path).by_bucket("s", "rest_em", 2)
    assert gains["easy"] == pytest.approx([20.0, 20.0])
    assert gains["hard"] == pytest.approx([10.0])
    assert gains["medium"] == pytest.approx([8.0])
    assert gains["very hard"] == []
