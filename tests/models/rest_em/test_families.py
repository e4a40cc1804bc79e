"""Families: the same problems for the same arguments, in splits that share nothing."""

import hashlib
import itertools
from collections import Counter

import pytest

from models.rest_em.families import FAMILIES, SPLITS, TRANSFER, problems, split_of
from models.rest_em.records import Problem, to_lines
from shammie.errors import UserError

ALL = (*SPLITS, TRANSFER)
# of the first 200 problems: a change of these changes every result that rests on them, so it is one to tell of
PINNED = {
    "arithmetic": {
        "train": "c9c42418901f6743",
        "validation": "983835d8dd29040c",
        "test": "c055bf9278cf1338",
        "transfer": "6b425f2d17843356",
    },
    "programs": {
        "train": "190435bf5dcf2891",
        "validation": "b21e5fd879c9d3d2",
        "test": "f1f2f9e11ac3cde3",
        "transfer": "5021e3fe2413bf83",
    },
}


def _hash(family: str, split: str) -> str:
    return hashlib.sha256(to_lines(problems(family, split, 200))).hexdigest()[:16]


@pytest.mark.parametrize("family", FAMILIES)
def test_problems_stay_what_they_are(family: str) -> None:
    assert {split: _hash(family, split) for split in ALL} == PINNED[family]


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_splits_share_nothing_and_no_prompt_comes_twice(family: str, count: int) -> None:
    prompts = {split: {one.prompt for one in problems(family, split, count)} for split in ALL}
    assert all(len(one) == count for one in prompts.values())
    for one, other in itertools.combinations(ALL, 2):
        assert not prompts[one] & prompts[other], (one, other)
    others = {one.prompt for one in problems(family, "test", 1000, seed=1)}
    assert not others & (prompts["train"] | prompts["validation"])
    assert len(others - prompts["test"]) > 300


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_are_those_asked_in_turn(family: str) -> None:
    levels = FAMILIES[family].levels
    found = problems(family, "train", 7 * len(levels), levels=levels)
    assert [one.level for one in found] == list(levels) * 7
    assert {one.level for one in problems(family, "train", 20, levels=(2,))} == {2}


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    for family in FAMILIES:
        short = problems(family, "test", 20, seed=3)
        assert problems(family, "test", 50, seed=3)[:20] == short
        assert problems(family, "test", 20, seed=4) != short
        # a level's problems do not depend on what other levels are asked for
        alone = problems(family, "test", 10, seed=3, levels=(2,))
        assert [one.prompt for one in short if one.level == 2] == [one.prompt for one in alone][:7]


def test_ids_name_family_split_and_number() -> None:
    found = problems("arithmetic", "transfer", 13)
    assert found[12].id == "arithmetic/transfer/000012"
    assert len({one.id for one in found}) == 13
    assert all(one.family == "arithmetic" for one in found)
    assert problems("programs", "train", 0) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_records_come_back_from_their_lines(family: str) -> None:
    for one in problems(family, "train", 50):
        assert Problem.from_json(one.to_json()) == one
        assert one.prompt.isascii()
        assert one.prompt.endswith("\n")
        assert one.solution


def test_the_hash_spreads_contents_over_the_splits() -> None:
    counts = Counter(split_of(f"content {number}") for number in range(10_000))
    assert abs(counts["train"] - 6000) < 200
    assert abs(counts["validation"] - 2000) < 200
    assert abs(counts["test"] - 2000) < 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("arithmetics", "train", 1), "did you mean arithmetic"),
        (("programs", "dev", 1), "unknown split 'dev'"),
        (("programs", "train", -1), "count -1"),
        (("programs", "train", 1, (1, 4)), "programs has no level 4; its levels are 1 to 3"),
        (("arithmetic", "train", 1, ()), "no levels of arithmetic"),
    ],
)
def test_what_is_not_there_is_an_error(arguments: tuple, message: str) -> None:
    family, split, count, *levels = arguments
    with pytest.raises(UserError, match=message):
        problems(family, split, count, **({"levels": levels[0]} if levels else {}))


def test_more_problems_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.rest_em.families.TRIES", 50)
    with pytest.raises(
        UserError, match=r"arithmetic has only [\d,]+ problems of level 1 for test; ask for fewer, or for more levels"
    ):
        problems("arithmetic", "test", 100_000, levels=(1,))
