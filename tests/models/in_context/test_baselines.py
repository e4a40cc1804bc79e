"""Baselines against scikit-learn, and what holds for each of them."""

import functools
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from models.in_context.baselines import BASELINES, baseline_of, lda, nearest_neighbour, ridge, sgd
from models.in_context.gradient_baseline import GradientConfig
from shammie.errors import UserError

B, N, F, C = 2, 36, 12, 4
POSITIONS = (8, 17, 35)  # all classes have examples before the first of them


def contexts(seed: int = 0, mean: float = 5.0) -> tuple[Any, Any]:
    """Four clusters that overlap, by default far from the origin: float32 [B, N, F] and int32 [B, N]."""
    rng = np.random.default_rng(seed)
    labels_BN = np.stack([np.concatenate([rng.permutation(C), rng.integers(0, C, N - C)]) for _ in range(B)])
    centres_BCF = rng.normal(size=(B, C, F))
    x_BNF = mean + np.take_along_axis(centres_BCF, labels_BN[:, :, None], axis=1) + rng.normal(size=(B, N, F))
    return x_BNF.astype(np.float32), labels_BN.astype(np.int32)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_nearest_neighbour_is_scikit_learns(neighbours: int) -> None:
    x, labels = contexts()
    scores = np.asarray(nearest_neighbour(x, labels, C, POSITIONS, neighbours=neighbours))
    for b in range(B):
        for at, n in enumerate(POSITIONS):
            known = KNeighborsClassifier(neighbours, algorithm="brute").fit(x[b, :n], labels[b, :n])
            votes = known.predict_proba(x[b, n : n + 1])[0] * neighbours
            np.testing.assert_allclose(np.exp(scores[b, at]), (votes + 1) / (neighbours + C), rtol=1e-5)
            assert scores[b, at].argmax() == known.predict(x[b, n : n + 1])[0]


@pytest.mark.parametrize("penalty", [1.0, 0.01, 30.0])
def test_ridge_is_scikit_learns(penalty: float) -> None:
    x, labels = contexts()
    scores = np.asarray(ridge(x, labels, C, range(N), penalty=penalty))
    for b in range(B):
        for n in (1, 3, *POSITIONS):  # few and many examples for 12 features
            wide = x[b].astype(np.float64)
            known = Ridge(alpha=penalty).fit(wide[:n], np.eye(C)[labels[b, :n]])
            np.testing.assert_allclose(scores[b, n], known.predict(wide[n : n + 1])[0], atol=2e-5 * max(1, 1 / penalty))
            if n > 1:
                classifier = RidgeClassifier(alpha=penalty).fit(wide[:n], labels[b, :n])
                assert scores[b, n].argmax() == classifier.predict(wide[n : n + 1])[0]


@pytest.mark.filterwarnings("ignore:Only one sample")
@pytest.mark.parametrize("shrinkage", [0.5, 0.1, 1.0])
def test_lda_is_scikit_learns(shrinkage: float) -> None:
    x, labels = contexts()
    scores = np.asarray(lda(x, labels, C, range(N), shrinkage=shrinkage))
    for b in range(B):
        for n in POSITIONS:
            known = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
            known.fit(x[b, :n].astype(np.float64), labels[b, :n])
            expected = known.predict_log_proba(x[b, n : n + 1].astype(np.float64))[0]
            np.testing.assert_allclose(scores[b, n] - np.logaddexp.reduce(scores[b, n]), expected, atol=3e-3)


def test_lda_of_single_examples_takes_the_nearest() -> None:
    x, labels = contexts()  # the first four are of four classes
    scores = np.asarray(lda(x, labels, C, range(N)))
    for n in range(1, C + 1):
        nearest = np.square(x[:, :n] - x[:, n : n + 1]).sum(axis=-1).argmin(axis=1)
        np.testing.assert_array_equal(scores[:, n].argmax(axis=-1), labels[np.arange(B), nearest])


@pytest.mark.parametrize("name", BASELINES)
def test_starts_at_chance_and_learns(name: str) -> None:
    x, labels = contexts(mean=0)  # SGD learns slowly from features of one sign
    scores = np.asarray(baseline_of(name)(x, labels, C, range(N)))
    assert scores.shape == (B, N, C)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores[:, 0], np.broadcast_to(scores[:, :1, 0], (B, C)))
    np.testing.assert_array_equal(scores[:, 1].argmax(axis=-1), labels[:, 0])  # all that it knows of
    assert (scores.argmax(axis=-1) == labels)[:, N // 2 :].mean() > 0.6


@pytest.mark.parametrize("name", BASELINES)
def test_sees_no_label_early(name: str) -> None:
    x, labels = contexts()
    other_x, other_labels = contexts(1)
    n = 20
    after_x, after_labels = x.copy(), labels.copy()
    after_x[:, n + 1 :], after_labels[:, n:] = other_x[:, n + 1 :], other_labels[:, n:]
    before = np.asarray(baseline_of(name)(x, labels, C, range(N)))
    after = np.asarray(baseline_of(name)(after_x, after_labels, C, range(N)))
    np.testing.assert_array_equal(before[:, : n + 1], after[:, : n + 1])
    assert np.any(before[:, n + 1 :] != after[:, n + 1 :], axis=(1, 2)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_sees_the_label_before(name: str) -> None:
    x, labels = contexts()
    x[:, 21] = x[:, 20]
    changed = labels.copy()
    changed[:, 20] = (labels[:, 20] + 1) % C
    before, after = (np.asarray(baseline_of(name)(x, y, C, range(N)))[:, 21] for y in (labels, changed))
    pick = lambda scores, label: np.take_along_axis(scores, label[:, None], axis=1)  # noqa: E731
    assert np.all(pick(before - after, labels[:, 20]) > 0)
    assert np.all(pick(after - before, changed[:, 20]) > 0)


@pytest.mark.parametrize("name", ["nearest_neighbour", "ridge", "lda", "logistic", "sgd"])
def test_permuted_labels_permute_the_scores(name: str) -> None:
    x, labels = contexts()
    permutation: Any = np.asarray([2, 0, 3, 1], np.int32)
    plain = np.asarray(baseline_of(name)(x, labels, C, range(N)))
    permuted = np.asarray(baseline_of(name)(x, permutation[labels], C, range(N)))
    np.testing.assert_allclose(permuted[:, :, permutation], plain, atol=1e-3)
    assert not np.allclose(permuted, plain, atol=1e-2)


@pytest.mark.parametrize("name", ["nearest_neighbour", "ridge", "lda", "logistic"])
def test_a_rotation_changes_nothing(name: str) -> None:
    x, labels = contexts()
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(F, F)))
    turned = (x @ rotation).astype(np.float32)
    plain, after = (np.asarray(baseline_of(name)(x_BNF, labels, C, range(N))) for x_BNF in (x, turned))
    np.testing.assert_allclose(after, plain, atol=2e-2)
    np.testing.assert_array_equal(after.argmax(axis=-1), plain.argmax(axis=-1))


def test_nearest_neighbour_knows_every_random_example_that_repeats() -> None:
    rng = np.random.default_rng(3)
    different = 50
    x_BMF: Any = rng.normal(size=(4, different, 64)).astype(np.float32)
    labels_BM: Any = rng.integers(0, 10, (4, different)).astype(np.int32)
    order = np.concatenate([np.arange(different), rng.permutation(different)])
    scores = np.asarray(nearest_neighbour(x_BMF[:, order], labels_BM[:, order], 10, range(2 * different)))
    right = scores.argmax(axis=-1) == labels_BM[:, order]
    assert right[:, different:].all()
    assert right[:, :different].mean() < 0.25  # nothing to learn from the others


def test_of_equally_near_examples_the_first_counts() -> None:
    x: Any = np.asarray([[[0], [2], [0], [2], [1], [0]]], np.float32)
    labels: Any = np.asarray([[3, 1, 2, 0, 0, 0]], np.int32)
    scores = np.asarray(nearest_neighbour(x, labels, C, (3, 4, 5)))
    np.testing.assert_array_equal(scores.argmax(axis=-1), [[1, 3, 3]])
    two = np.asarray(nearest_neighbour(x, labels, C, (5,), neighbours=2))
    np.testing.assert_allclose(np.exp(two[0, 0]), np.asarray([1, 1, 2, 2]) / 6, rtol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_a_label_of_no_class_is_not_learned_from(name: str) -> None:
    x, labels = contexts()
    labels[:, 10:20] = [-1, C] * 5
    order = np.r_[:10, 20:N, 10:20]  # the same examples, and those without a class at the end, where none sees them
    scores = np.asarray(baseline_of(name)(x, labels, C, range(N)))
    without = np.asarray(baseline_of(name)(x[:, order], labels[:, order], C, range(N)))
    np.testing.assert_allclose(scores[:, order[:-10]], without[:, :-10], atol=2e-3)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (functools.partial(nearest_neighbour, positions=(N,)), "position 36"),
        (functools.partial(ridge, positions=(-1,)), "position -1"),
        (functools.partial(sgd, positions=()), "no positions"),
        (functools.partial(nearest_neighbour, positions=(1,), neighbours=0), "neighbours is 0"),
        (functools.partial(ridge, positions=(1,), penalty=0.0), "penalty is 0.0"),
        (functools.partial(lda, positions=(1,), shrinkage=1.5), "shrinkage is 1.5"),
    ],
)
def test_bad_options_are_named(call: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        call(*contexts(), C)


def test_other_bad_input_is_named() -> None:
    x, labels = contexts()
    with pytest.raises(UserError, match="classes is 0"):
        ridge(x, labels, 0, (1,))
    with pytest.raises(UserError, match=r"their labels \(2, 35\)"):
        ridge(x, labels[:, 1:], C, (1,))
    with pytest.raises(UserError, match="did you mean ridge"):
        baseline_of("rigde")
    with pytest.raises(UserError, match="steps is 0"):
        GradientConfig(steps=0)
