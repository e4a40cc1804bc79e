"""Metrics: against enumeration, SciPy and known values."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from models.rest_em import metrics
from models.rest_em.metrics import (
    Interval,
    bucket_of,
    by_bucket,
    majority,
    majority_at_k,
    mean_pass_at_k,
    paired_bootstrap,
    pass_at_k,
    t_interval,
    wilson_interval,
)
from shammie.errors import UserError


def test_pass_at_k_is_the_share_of_subsets_with_a_pass() -> None:
    for n in range(1, 8):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations([one < c for one in range(n)], k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)


@given(st.data())
def test_pass_at_k_is_the_product_form_and_rises(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 300))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    value = pass_at_k(n, c, k)
    # the form that Chen et al. compute, and the chance of no pass in a hypergeometric draw
    product = 1.0 if n - c < k else 1 - float(np.prod(1 - k / np.arange(n - c + 1, n + 1)))
    assert value == pytest.approx(product, abs=1e-12)
    assert value == pytest.approx(scipy.stats.hypergeom.sf(0, n, c, k), abs=1e-9)
    assert 0 <= value <= 1
    assert k == n or pass_at_k(n, c, k + 1) >= value
    assert c == n or pass_at_k(n, c + 1, k) >= value


def test_pass_at_k_at_known_values() -> None:
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)  # 3 of 10 pairs hold none
    assert pass_at_k(64, 0, 64) == 0
    assert pass_at_k(64, 1, 64) == 1
    assert pass_at_k(2000, 1, 1000) == 0.5  # where floats of C(n, k) would overflow
    assert mean_pass_at_k([(4, 1), (2, 2), (8, 0)], 1) == pytest.approx((0.25 + 1 + 0) / 3)
    assert mean_pass_at_k([(4, 1), (2, 1)], 2) == pytest.approx((0.5 + 1) / 2)


def test_the_majority_is_right_or_wrong_and_ties_are_shared() -> None:
    assert majority(["5", "5", "7"], [True, True, False]) == 1
    assert majority(["5", "7", "7"], [True, False, False]) == 0
    assert majority(["5", "7"], [True, False]) == 0.5
    assert majority(["5", "7", "8", "7", "5", "8", "1"], [True, False, False, False, True, False, False]) == 1 / 3
    assert majority(["", "", "", "5"], [False, False, False, True]) == 1  # no answer is no vote
    assert majority(["", ""], [False, False]) == 0
    assert majority(["", ""], [True, True]) == 0
    assert majority(["5", "5"], [True, False]) == 0.5


@given(st.data())
def test_the_majority_does_not_depend_on_the_order(data: st.DataObject) -> None:
    answers = data.draw(st.lists(st.sampled_from(["", "1", "2", "3"]), min_size=1, max_size=9))
    value = majority(answers, [answer == "1" for answer in answers])
    mixed = data.draw(st.permutations(answers))
    assert majority(mixed, [answer == "1" for answer in mixed]) == value
    counts = {answer: answers.count(answer) for answer in set(answers) - {""}}
    most = [answer for answer, number in counts.items() if number == max(counts.values())]
    assert value == pytest.approx(1 / len(most) if "1" in most else 0)


def test_majority_at_k_votes_among_the_first_k() -> None:
    answers, passed = ["7", "5", "5", "7", "7"], [False, True, True, False, False]
    assert [majority_at_k(answers, passed, k) for k in range(1, 6)] == [0, 0.5, 1, 0.5, 0]


def test_wilson_at_known_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    for (passed, trials), bounds in {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605),
                                     (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}.items():  # fmt: skip
        found = wilson_interval(passed, trials)
        assert (found.low, found.high) == pytest.approx(bounds, abs=5e-5)
        assert found.mean == passed / trials
    assert wilson_interval(5, 5).high == pytest.approx(1)
    wide, narrow = wilson_interval(10, 20, confidence=0.99), wilson_interval(10, 20, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_t_interval_is_scipys() -> None:
    values = [0.31, 0.35, 0.30]
    found = t_interval(values)
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert found == pytest.approx((low, 0.32, high))
    assert t_interval([1.0, 3.0]) == pytest.approx((2 - 12.7062047, 2, 2 + 12.7062047))  # t of 1 degree, sem 1
    assert t_interval([0.5, 0.5]) == Interval(0.5, 0.5, 0.5)


def test_the_paired_bootstrap_agrees_with_scipy_and_normal_theory() -> None:
    random = np.random.default_rng(0)
    first = random.random(400) < 0.4
    second = first ^ (random.random(400) < 0.2)
    found = paired_bootstrap(first.tolist(), second.tolist(), seed=3)
    differences = second.astype(float) - first
    theirs = scipy.stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.mean == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    half = 1.96 * differences.std() / math.sqrt(400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


def test_the_paired_bootstrap_is_of_its_seed_and_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = [0.0, 1.0, 0.0, 1.0] * 10, [0.5, 1.5, 0.5, 1.5] * 10
    assert paired_bootstrap(first, second) == Interval(0.5, 0.5, 0.5)  # every pair differs by as much
    assert paired_bootstrap(second, first).mean == -0.5
    mixed = np.random.default_rng(0).random(40).tolist()
    once = paired_bootstrap(first, mixed, seed=1)
    assert paired_bootstrap(first, mixed, seed=1) == once != paired_bootstrap(first, mixed, seed=2)
    monkeypatch.setattr(metrics, "_AT_ONCE", 999)  # draws in small parts are the same draws
    assert paired_bootstrap(first, mixed, seed=1) == once


def test_buckets_hold_their_lower_edge() -> None:
    rates = [1, 0.75, 0.7499, 0.5, 0.4999, 0.25, 0.2499, 0]
    expected = ["easy", "easy", "medium", "medium", "hard", "hard", "very hard", "very hard"]
    assert [bucket_of(rate) for rate in rates] == expected
    found = by_bucket({"b": 0.8, "a": 0.9, "c": 0.3, "unused": 0.6}, {"a": 1.0, "b": 0.0, "c": 0.5})
    assert found == {"easy": [1.0, 0.0], "medium": [], "hard": [0.5], "very hard": []}


def test_what_is_not_defined_is_an_error() -> None:
    for call, message in (
        (lambda: pass_at_k(4, 2, 5), "pass@5 of 4 samples"),
        (lambda: pass_at_k(4, 2, 0), "pass@0 of 4"),
        (lambda: pass_at_k(4, 5, 1), "5 of 4"),
        (lambda: mean_pass_at_k([], 1), "no problems"),
        (lambda: majority([], []), "0 answers"),
        (lambda: majority(["1"], []), "1 answers and 0 verdicts"),
        (lambda: majority_at_k(["1"], [True], 2), "maj@2 of 1"),
        (lambda: wilson_interval(0, 0), "0 of 0"),
        (lambda: t_interval([1.0]), "over 1 runs"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0]), "1 and 2 values"),
        (lambda: bucket_of(75.0), "75.0 is not in 0 to 1"),
        (lambda: by_bucket({}, {"a": 1.0}), "'a' has no base pass rate"),
    ):
        with pytest.raises(UserError, match=message):
            call()
