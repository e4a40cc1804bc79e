"""Tables as a learner reads them: equal to a loop over votes and rows, blind to other rows, and checked."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context import tabular
from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.trained import TrainedLearner
from shammie.errors import UserError

TINY = LearnerConfig(features=6, classes=4, examples=12, width=16, layers=1, heads=2, head_width=8, mlp_width=16)


@functools.cache
def learner() -> TrainedLearner:
    return TrainedLearner(TINY, jax.jit(functools.partial(first_params, network_of(TINY)))(jax.random.key(1)), {})


def table(rows: int = 11, questions: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x_MF, x_QF = random.normal(3, 5, (rows, 4)), random.normal(3, 5, (questions, 4))
    return x_MF, np.arange(rows) % 3, x_QF


whole_sequences = jax.jit(lambda params, x, labels: network_of(TINY).apply({"params": params}, x, labels))


def by_loop(x_MF: np.ndarray, labels_M: np.ndarray, x_QF: np.ndarray, votes: int, seed: int) -> np.ndarray:
    """The definition: each row of each vote is the last of a whole sequence."""
    mean_F, std_F = x_MF.mean(axis=0), x_MF.std(axis=0)

    def squashed(x: np.ndarray) -> np.ndarray:
        z = (x - mean_F) / std_F
        return np.where(abs(z) <= 2, z, np.sign(z) * (2 + np.log(np.maximum(abs(z), 2) - 1)))

    z_MF, z_QF = squashed(x_MF), squashed(x_QF)
    own, features = x_MF.shape[1], TINY.features
    share = 0.8 * ((features - own) / features) ** 2
    total = np.zeros((len(x_QF), 3))
    for vote in range(votes):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), vote), 5)
        directions = np.asarray(jax.random.normal(keys[0], (features, features)))[:own, own:] * 2 / own**0.5
        phases = np.asarray(jax.random.uniform(keys[1], (features,), maxval=2 * np.pi))[own:]
        waves_M, waves_Q = np.cos(z_MF @ directions + phases), np.cos(z_QF @ directions + phases)
        waves_Q = (waves_Q - waves_M.mean(axis=0)) / waves_M.std(axis=0)
        waves_M = (waves_M - waves_M.mean(axis=0)) / waves_M.std(axis=0)
        parts = []
        for plain, waves in ((z_MF, waves_M), (z_QF, waves_Q)):
            plain = plain * ((1 - share) * features / (z_MF**2).sum(axis=1).mean()) ** 0.5
            waves = waves * (share * features / (waves_M**2).sum(axis=1).mean()) ** 0.5
            parts.append(np.concatenate([plain, waves], axis=1) @ np.asarray(jax.random.orthogonal(keys[2], features)))
        assert (parts[0] ** 2).sum(axis=1).mean() == pytest.approx(features, rel=1e-5)
        label_C = np.asarray(jax.random.permutation(keys[3], TINY.classes))
        order_M = np.asarray(jax.random.permutation(keys[4], len(x_MF)))
        seen_NF = np.repeat(parts[0][order_M][None], len(x_QF), axis=0)
        x_QNF = np.concatenate([seen_NF, parts[1][:, None]], axis=1).astype(np.float32)
        labels_QN = np.repeat(np.append(label_C[labels_M[order_M]], 0)[None], len(x_QF), axis=0)
        logits = whole_sequences(learner().params, jnp.asarray(x_QNF), jnp.asarray(labels_QN))
        mine = np.asarray(logits, np.float64)[:, -1, label_C[:3]]
        total += mine - np.log(np.exp(mine).sum(axis=1, keepdims=True))
    average = np.exp(total / votes)
    return np.log(average / average.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("votes", [2, 10])  # more than are read at once, too
def test_equals_a_loop_over_votes_and_rows(votes: int) -> None:
    found = tabular.classify(learner(), *table(), votes=votes, seed=5)
    assert found.shape == (40, 3)
    assert np.ptp(found[:, 0]) > 0.1  # the rows do differ
    np.testing.assert_allclose(found, by_loop(*table(), votes, 5), atol=2e-5)


def test_probabilities_of_the_tables_classes_alone_sum_to_one() -> None:
    found = tabular.classify(learner(), *table(), votes=2)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = (tabular.classify(learner(), *table(), votes=2, seed=seed) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 1e-3


def test_an_answer_does_not_depend_on_the_other_rows() -> None:
    x_MF, labels_M, x_QF = table()
    whole = tabular.classify(learner(), x_MF, labels_M, x_QF, votes=2)
    others = np.concatenate([x_QF[:35], 1e9 * x_QF[35:]])
    assert np.array_equal(tabular.classify(learner(), x_MF, labels_M, others, votes=2)[:35], whole[:35])
    alone = [tabular.classify(learner(), x_MF, labels_M, x_QF[row : row + 1], votes=2)[0] for row in (0, 39)]
    np.testing.assert_allclose(alone, whole[[0, 39]], atol=1e-5)


def test_no_rows_to_classify() -> None:
    x_MF, labels_M, x_QF = table()
    assert tabular.classify(learner(), x_MF, labels_M, x_QF[:0], votes=2).shape == (0, 3)


def test_within_two_deviations_standardised_is_numpys() -> None:
    random = np.random.default_rng(2)
    x_MF, x_QF = random.uniform(-1, 1, (50, 3)) * [1, 1e-200, 1e200], random.uniform(-1, 1, (9, 3)) * [1, 1e-200, 1e200]
    found = tabular.standardised(x_MF, x_QF)
    mean_F, std_F = x_MF.mean(axis=0), (x_MF / [1, 1e-200, 1e200]).std(axis=0) * [1, 1e-200, 1e200]
    for one, x in zip(found, (x_MF, x_QF), strict=True):
        np.testing.assert_allclose(one, (x - mean_F) / std_F, rtol=1e-10, atol=1e-10)


def test_far_off_numbers_are_drawn_in_and_keep_their_order() -> None:
    x_MF = np.array([[-1.0], [1.0]])  # mean 0, deviation 1
    x_QF = np.array([[-1e308], [-9.0], [-2.0], [2.0], [2.5], [3.0], [1e5], [1e308]])
    _, found = tabular.standardised(x_MF, x_QF)
    expected = [-2 - np.log(8), -2, 2, 2 + np.log(1.5), 2 + np.log(2), 2 + np.log(1e5 - 1)]
    np.testing.assert_allclose(found[1:-1, 0], expected)
    assert (np.diff(found[:, 0]) > 0).all()
    assert np.abs(found).max() < 20


def test_a_constant_feature_is_zero_even_where_new_rows_have_others() -> None:
    x_MF = np.array([[0.1, 0.0, 1.0]] * 3 + [[0.1, 0.0, 2.0]])
    found = tabular.standardised(x_MF, np.array([[7.0, 3.0, 1.5]]))
    assert all((one[:, :2] == 0).all() and (one[:, 2] != 0).all() for one in found)


def test_weights_share_out_a_square_norm_of_the_learners_features() -> None:
    z_MF = np.random.default_rng(0).normal(size=(30, 4))
    weight_F = tabular.weights(z_MF, 10)
    assert (weight_F.shape, weight_F.dtype) == ((10,), np.float32)
    own = np.square(z_MF * weight_F[:4]).sum(axis=1).mean()
    waves = np.square(weight_F[4:]).sum()  # of a mean square of 1 each
    assert (own, waves) == (pytest.approx(10 - waves), pytest.approx(10 * 0.8 * 0.6**2))
    full_F = tabular.weights(z_MF, 4)
    assert np.square(z_MF * full_F).sum(axis=1).mean() == pytest.approx(4)


def test_features_that_do_not_vary_change_nothing() -> None:
    x_MF, labels_M, x_QF = table()
    wide_MF = np.insert(x_MF, 1, 7.0, axis=1)
    found = tabular.classify(learner(), wide_MF, labels_M, np.insert(x_QF, 1, 3.0, axis=1), votes=2)
    assert found.tobytes() == tabular.classify(learner(), x_MF, labels_M, x_QF, votes=2).tobytes()
    blank = tabular.classify(learner(), 0 * x_MF, labels_M, x_QF, votes=2)
    assert np.isfinite(blank).all()
    assert np.array_equal(blank[0], blank[31])


def test_a_subsample_has_every_class_in_its_share() -> None:
    labels_M = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [600, 300, 99, 1]))
    rows = tabular.subsample(labels_M, 100, seed=7)
    assert np.bincount(labels_M[rows]).tolist() == [59, 30, 10, 1]
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, tabular.subsample(labels_M, 100, seed=7))
    assert not np.array_equal(rows, tabular.subsample(labels_M, 100, seed=8))
    assert tabular.subsample(labels_M, 1000, seed=0).tolist() == list(range(1000))
    for most in (4, 5, 6, 7, 999):
        found = tabular.subsample(labels_M, most, seed=1)
        assert (len(np.unique(found)), len(np.unique(labels_M[found]))) == (most, 4)
    with pytest.raises(UserError, match="4 classes cannot all be among 3 rows"):
        tabular.subsample(labels_M, 3, seed=0)


def test_rows_of_a_subsample_are_drawn_evenly() -> None:
    labels_M = np.repeat([0, 1], [8, 4])
    drawn = np.bincount(np.concatenate([tabular.subsample(labels_M, 6, seed) for seed in range(400)]), minlength=12)
    assert (np.abs(drawn - 200) < 50).all(), drawn


def changed(**parts: Any) -> dict[str, Any]:
    x_MF, labels_M, x_QF = table()
    return {"x_MF": x_MF, "labels_M": labels_M, "x_QF": x_QF, **parts}


INFINITE, NOT_A_NUMBER = table()[0], table()[2]
INFINITE[2, 1], NOT_A_NUMBER[7, 3] = np.inf, np.nan


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (changed(labels_M=np.arange(11) % 5), "5 classes, but the learner tells at most 4 apart"),
        (changed(labels_M=np.zeros(11, int)), "1 class: there is nothing to tell apart"),
        (changed(labels_M=np.where(np.arange(11) % 3, 2, 0)), "class 1 has no row"),
        (changed(labels_M=np.arange(11) % 3 - 1), "labels are int64 from -1"),
        (changed(labels_M=np.arange(11) % 3 + 0.5), "labels are float64"),
        (changed(labels_M=np.arange(10) % 3), "labels of (10,)"),
        (changed(x_MF=np.ones((11, 7)), x_QF=np.ones((1, 7))), "7 features, but the learner reads at most 6"),
        (changed(x_QF=np.ones((1, 5))), "tables of shapes (11, 4) and (1, 5)"),
        (changed(x_MF=np.ones((12, 4)), labels_M=np.arange(12) % 3), "12 labelled rows, but the learner reads at most"),
        (changed(x_MF=np.ones((0, 4)), labels_M=np.arange(0)), "no labelled rows, or no features"),
        (changed(x_MF=INFINITE), "row 2, feature 1 is inf"),
        (changed(x_QF=NOT_A_NUMBER), "row 7, feature 3 is nan"),
        (changed(votes=0), "votes is 0"),
        (changed(seed=-1), "seed is -1"),
    ],
)
def test_bad_input(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        tabular.classify(
            learner(),
            parts["x_MF"],
            parts["labels_M"],
            parts["x_QF"],
            votes=parts.get("votes", 1),
            seed=parts.get("seed", 0),
        )
