"""Selection: invariants by hypothesis, reasons in their order, and what counts as the same solution."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rest_em.records import Graded
from models.rest_em.selection import Dropped, Selection, rank, select
from shammie.errors import UserError


def _graded(problem: str, sample: int, text: str = "1+1=2. Answer: 2", passed: bool = True, finished: bool = True,
            reason: str = "") -> Graded:  # fmt: skip
    return Graded(problem, sample, text, 5, finished, passed, reason, "2" if passed else "", "number@1")


SAMPLES = st.lists(
    st.builds(
        _graded,
        problem=st.sampled_from("abc"),
        sample=st.integers(0, 30),
        text=st.sampled_from(["1+1=2", "1+1=2.", "2*1=2", "1+1=3. 2", "two", "2", "Answer: 2", "3-1=2"]),
        passed=st.booleans() | st.just(True),
        finished=st.booleans() | st.just(True),
        reason=st.sampled_from(["", "wrong answer", "no answer"]),
    ),
    max_size=40,
    unique_by=lambda one: (one.problem, one.sample),
)
KEYS = st.sampled_from(["text", "equations"])


@given(SAMPLES, st.integers(0, 4), st.integers(0, 3), KEYS, st.data())
def test_order_and_sharding_change_nothing(
    samples: list[Graded], cap: int, seed: int, key: str, data: st.DataObject
) -> None:
    whole = select(samples, cap=cap, seed=seed, key=key)  # type: ignore[arg-type]
    mixed = data.draw(st.permutations(samples))
    assert select(iter(mixed), cap=cap, seed=seed, key=key) == whole  # type: ignore[arg-type]
    shards = [
        select([one for one in mixed if one.problem in problems], cap=cap, seed=seed, key=key)  # type: ignore[arg-type]
        for problems in ("b", "ac")
    ]
    where = lambda one: (one.problem, one.sample)  # noqa: E731
    assert sorted([kept for one in shards for kept in one.kept], key=where) == list(whole.kept)
    assert sorted([out for one in shards for out in one.dropped], key=where) == list(whole.dropped)
    assert sum(one.problems for one in shards) == whole.problems
    assert sum(one.covered for one in shards) == whole.covered


@given(SAMPLES, st.integers(1, 4), st.integers(0, 3), KEYS)
def test_every_sample_is_kept_or_dropped_for_its_reason(samples: list[Graded], cap: int, seed: int, key: str) -> None:
    found = select(samples, cap=cap, seed=seed, key=key)  # type: ignore[arg-type]
    kept = {(one.problem, one.sample) for one in found.kept}
    reasons = {(one.problem, one.sample): one.reason for one in found.dropped}
    assert not kept & set(reasons)
    assert kept | set(reasons) == {(one.problem, one.sample) for one in samples}
    assert len(found.kept) + len(found.dropped) == len(samples)
    assert set(found.kept) <= set(samples)
    assert all(one.passed and one.finished for one in found.kept)
    for one in samples:
        reason = reasons.get((one.problem, one.sample), "")
        if not one.finished:
            assert reason == "not finished"
        elif not one.passed:
            assert reason == (one.reason or "not passed")
        else:
            assert reason in {"", "duplicate", "over the cap", *(["false equation"] if key == "equations" else [])}
    count = Counter(one.problem for one in found.kept)
    for problem in "abc":
        good = {one.text for one in samples if one.problem == problem and one.passed and one.finished}
        if key == "text":
            assert count[problem] == min(cap, len(good))
        assert len({one.text for one in found.kept if one.problem == problem}) == count[problem] <= cap
        if reasons and "over the cap" in {r for (name, _), r in reasons.items() if name == problem}:
            assert count[problem] == cap
    assert sum(found.reasons.values()) == len(found.dropped)


@given(SAMPLES, st.integers(1, 3))
def test_a_higher_cap_keeps_what_a_lower_one_did(samples: list[Graded], cap: int) -> None:
    less, more, all_ = (select(samples, cap=one) for one in (cap, cap + 1, 0))
    assert set(less.kept) <= set(more.kept) <= set(all_.kept)
    assert "over the cap" not in all_.reasons


def test_reasons_come_in_their_order() -> None:
    samples = [
        _graded("p", 0, finished=False),  # it passed, but did not end
        _graded("p", 1, finished=False, passed=False, reason="wrong answer"),
        _graded("p", 2, passed=False, reason="wrong answer"),
        _graded("p", 3, passed=False),
        _graded("p", 5),
        _graded("p", 4),  # the same text as 5: the lower number stays
        _graded("p", 6, text="3-1=2. Answer: 2"),
        _graded("p", 7, text="1+2=2. Answer: 2"),
        _graded("q", 0, passed=False, reason="no answer"),
    ]
    first, last = sorted((4, 6, 7), key=lambda number: rank(5, "p", number))[:2], None
    last = ({4, 6, 7} - set(first)).pop()
    found = select(samples, cap=2, seed=5)
    assert [one.sample for one in found.kept] == sorted(first)
    assert found.dropped == tuple(sorted([
        Dropped("p", 0, "not finished"), Dropped("p", 1, "not finished"), Dropped("p", 2, "wrong answer"),
        Dropped("p", 3, "not passed"), Dropped("p", 5, "duplicate"), Dropped("p", last, "over the cap"),
        Dropped("q", 0, "no answer"),
    ], key=lambda one: (one.problem, one.sample)))  # fmt: skip
    assert (found.problems, found.covered, found.coverage, found.mean_kept) == (2, 1, 0.5, 1.0)
    assert found.reasons == {
        "duplicate": 1, "no answer": 1, "not finished": 2, "not passed": 1, "over the cap": 1, "wrong answer": 1,
    }  # fmt: skip


def test_the_rank_is_the_hash_of_seed_problem_and_sample() -> None:
    assert rank(3, "a/b", 7) == hashlib.sha256(b'[3,"a/b",7]').digest()
    samples = [_graded("p", number, text=f"{number}+0={number}") for number in range(40)]
    chosen = [{one.sample for one in select(samples, seed=seed).kept} for seed in range(30)]
    assert all(len(one) == 10 for one in chosen)
    assert len(set(map(frozenset, chosen))) == 30
    times = Counter(number for one in chosen for number in one)
    assert len(times) == 40  # no sample is favoured: each is chosen 7.5 times of 30 on average
    assert max(times.values()) < 20


def test_equations_make_two_solutions_one() -> None:
    texts = [
        "He buys 3*5=15 eggs. 12+15=27. Answer: 27",
        "3 * 5 = 15, so 12 + 15 = 27. Answer: 27",  # the same path
        "12+15=27, since 3*5=15. Answer: 27",  # another order is another path
        "5+5+5=15. 12+15=27. Answer: 27",
        "3*5=16. 12+15=27. Answer: 27",  # right by luck
        "It is 27.",
        "Answer: 27",  # without equations, texts are compared
        "It is 27.",
    ]
    samples = [_graded("p", number, text) for number, text in enumerate(texts)]
    found = select(samples, key="equations")
    assert [one.sample for one in found.kept] == [0, 2, 3, 5, 6]
    assert {one.sample: one.reason for one in found.dropped} == {1: "duplicate", 4: "false equation", 7: "duplicate"}
    assert [one.sample for one in select(samples).kept] == [0, 1, 2, 3, 4, 5, 6]


def test_the_same_text_of_two_problems_is_no_duplicate() -> None:
    assert len(select([_graded("p", 0), _graded("q", 0)]).kept) == 2


def test_nothing_gives_nothing() -> None:
    found = select([])
    assert found == Selection((), ())
    assert (found.problems, found.coverage, found.mean_kept, found.reasons) == (0, 0.0, 0.0, {})


def test_what_is_wrong_is_an_error() -> None:
    with pytest.raises(UserError, match="sample 3 of problem 'p' is there twice"):
        select([_graded("p", 3), replace(_graded("p", 3), text="other")])
    with pytest.raises(UserError, match="cap of -1"):
        select([], cap=-1)
    with pytest.raises(UserError, match="unknown key of duplicates 'equation'; did you mean equations"):
        select([], key="equation")  # type: ignore[arg-type]
