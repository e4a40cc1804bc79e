"""A user's table as a meta-trained learner reads it: in-context classification, with no training.

Meta-training made the order of rows, the names of classes and any rotation of features irrelevant: each vote draws
them anew, and the votes are averaged. Features that a table does not fill are random waves of its own (random Fourier
features; Rahimi & Recht 2007, Algorithm 1), since a small learner, given two features, draws straight lines between
classes. M = labelled rows, Q = rows to classify, F = features (of the table; when encoded, of the learner), K = classes
of the table, C = of the learner, V = votes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.in_context.learner import answer, network_of, read
from models.in_context.learner_config import LearnerConfig
from models.in_context.trained import TrainedLearner
from shammie.errors import UserError

VOTES = 8
LINEAR = 2.0  # standard deviations; beyond, the logarithm of the rest counts
MOST = 1e6  # standard deviations; what is further off counts as this far
WAVE = 2.0  # radians that a standardised row is from the mean, about, in the direction of a wave
WAVES_SHARE = 0.8  # of the squared norm, where the table fills next to no features
VOTES_AT_ONCE, QUESTIONS_AT_ONCE = 8, 32  # each question of each vote holds a state


def classify(
    trained: TrainedLearner,
    x_MF: np.ndarray,
    labels_M: np.ndarray,
    x_QF: np.ndarray,
    *,
    votes: int = VOTES,
    seed: int = 0,
) -> np.ndarray:
    """Classifies rows from labelled ones; no parameter changes.

    Features are standardised (`standardised`); those that do not vary are left out. Each vote fills the learner's other
    features with waves, rotates all of them at random, gives the classes other labels, and reads the rows in another
    order. The squared norm of a labelled row is the learner's number of features on average, as in meta-training; of it
    waves have WAVES_SHARE times the square of the share of features that are free. Vote v of a seed is the same however
    many there are, and no row's answer depends on the other rows that are asked about.

    Args:
        trained: the learner.
        x_MF: labelled rows, fewer than its `config.examples`; finite.
        labels_M: their classes, whole numbers 0 ... K - 1, each there at least once.
        x_QF: rows to classify, with the same features.
        votes: V, whose log probabilities are averaged.
        seed: of all that is drawn.

    Returns:
        Log probabilities, float64 [Q, K]; those of a row sum to 1.

    Raises:
        UserError: the table does not fit the learner, has numbers that are not finite, or a class without rows.
    """
    labels_M = _checked(trained.config, x_MF, labels_M, x_QF)
    if votes < 1:
        raise UserError(f"votes is {votes}", "give 1 or more")
    if not 0 <= seed < 2**63:
        raise UserError(f"seed is {seed}", "give a whole number from 0 to below 2**63")
    classes, count = int(labels_M.max()) + 1, len(x_QF)
    z_MF, z_QF = standardised(x_MF, x_QF)
    varies_F = z_MF.any(axis=0)
    z_MF, z_QF = z_MF[:, varies_F], z_QF[:, varies_F]
    weight_G = weights(z_MF, trained.config.features)
    pad = lambda z, rows: np.pad(z, ((0, rows), (0, len(weight_G) - z.shape[1]))).astype(np.float32)  # noqa: E731
    z_MG, z_QG = jnp.asarray(pad(z_MF, 0)), jnp.asarray(pad(z_QF, -count % QUESTIONS_AT_ONCE))  # chunks of one size
    own, table = jnp.int32(z_MF.shape[1]), (z_MG, jnp.asarray(labels_M), jnp.asarray(weight_G))
    params = jax.tree.map(jnp.asarray, trained.params)
    total_QK = np.zeros((len(z_QG), classes))
    for first in range(0, votes, VOTES_AT_ONCE):
        numbers_V = jnp.arange(first, min(votes, first + VOTES_AT_ONCE))
        told = _read(trained.config, params, *table, own, jax.random.key(seed), numbers_V)
        for start in range(0, len(z_QG), QUESTIONS_AT_ONCE):
            asked = slice(start, start + QUESTIONS_AT_ONCE)
            logits_VQC = np.asarray(_answer(trained.config, params, told, own, z_QG[asked]), np.float64)
            total_QK[asked] += logits_VQC[:, :, :classes].sum(axis=0)  # log probabilities but for a number a row
    return _log_softmax(total_QK[:count] / votes)


def standardised(x_MF: np.ndarray, x_QF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tables in standard deviations of the first from its means, feature by feature; float64.

    A feature that does not vary in the first is 0 in both. Up to LINEAR deviations nothing else is done; beyond them
    only log(1 + the rest) is added, so that one far-off number does not drown a row, and order is kept.

    Args:
        x_MF: labelled rows, which alone say what is standard; finite.
        x_QF: others.
    """
    x_MF, x_QF = np.asarray(x_MF, np.float64), np.asarray(x_QF, np.float64)
    largest_F = np.abs(x_MF).max(axis=0)
    largest_F[largest_F == 0] = 1.0
    scaled_MF = x_MF / largest_F  # squares of the largest and smallest float64 are none
    varies_F = x_MF.max(axis=0) > x_MF.min(axis=0)
    mean_F = scaled_MF.mean(axis=0)
    std_F = np.where(varies_F, scaled_MF.std(axis=0), 1.0)

    def one(scaled_F: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            z_F = np.clip((scaled_F - mean_F) / std_F, -MOST, MOST)
        squashed_F = np.sign(z_F) * (LINEAR + np.log1p(np.maximum(np.abs(z_F) - LINEAR, 0)))
        return np.where(np.abs(z_F) > LINEAR, squashed_F, z_F) * varies_F

    with np.errstate(over="ignore"):
        return one(scaled_MF), one(x_QF / largest_F)


def weights(z_MF: np.ndarray, features: int) -> np.ndarray:
    """What encoded features are times before they are rotated: first the table's own, then waves; float32 [features].

    Args:
        z_MF: standardised labelled rows.
        features: of the learner: the mean squared norm of a labelled row afterwards.
    """
    own, square = z_MF.shape[1], np.square(z_MF).sum(axis=1).mean()
    free = features - own
    share = WAVES_SHARE * (free / features) ** 2
    weight_F = np.zeros(features, np.float32)
    weight_F[:own] = np.sqrt((1 - share) * features / square) if own else 0.0
    weight_F[own:] = np.sqrt(share * features / max(free, 1))
    return weight_F


def subsample(labels_M: np.ndarray, most: int, seed: int) -> np.ndarray:
    """A random choice of rows with each class in its share, and at least once.

    Args:
        labels_M: the classes of all rows, 0 ... K - 1.
        most: how many rows; all of them where there are no more.
        seed: of the choice.

    Returns:
        Ascending places of rows, int64 [min(M, most)].

    Raises:
        UserError: there are more classes than `most`.
    """
    there, class_M, count_K = np.unique(labels_M, return_inverse=True, return_counts=True)
    if len(labels_M) <= most:
        return np.arange(len(labels_M))
    if len(there) > most:
        raise UserError(f"{len(there)} classes cannot all be among {most} rows", "take more rows")
    # one of each class, then the rest by share: whole parts first, and one more for the largest fractions
    share_K = (count_K - 1) * ((most - len(there)) / (len(labels_M) - len(there)))
    take_K = 1 + np.floor(share_K).astype(np.int64)
    order_K = np.argsort(np.floor(share_K) - share_K, kind="stable")
    take_K[order_K[: most - take_K.sum()]] += 1
    generator = np.random.Generator(np.random.Philox(seed))
    parts = [generator.permutation(np.flatnonzero(class_M == k))[:take] for k, take in enumerate(take_K)]
    return np.sort(np.concatenate(parts))


class _View(NamedTuple):
    """How a vote sees rows.

    Attributes:
        waves_FF: each wave's direction, a column.
        phase_F: radians.
        mean_F: of each wave over the labelled rows.
        std_F: likewise.
        turn_FF: weights and rotation.
    """

    waves_FF: jax.Array
    phase_F: jax.Array
    mean_F: jax.Array
    std_F: jax.Array
    turn_FF: jax.Array


class _Told(NamedTuple):
    """What the votes have read.

    Attributes:
        state: of `learner.read`, V rows.
        last_V: the label of the last example, int32.
        labels_VC: the label that each class has, int32.
        view: of each vote.
    """

    state: Any
    last_V: jax.Array
    labels_VC: jax.Array
    view: _View


@functools.partial(jax.jit, static_argnums=0)
def _read(
    config: LearnerConfig,
    params: Any,
    z_MF: jax.Array,
    classes_M: jax.Array,
    weight_F: jax.Array,
    own: jax.Array,
    key: jax.Array,
    numbers_V: jax.Array,
) -> _Told:
    """Reads the labelled rows, whose first `own` features are the table's."""

    def draw(number: jax.Array) -> tuple[_View, jax.Array, jax.Array]:
        keys = jax.random.split(jax.random.fold_in(key, number), 5)
        view = _view(z_MF, weight_F, own, *keys[:3])
        order_M = jax.random.permutation(keys[4], len(classes_M))
        return view, jax.random.permutation(keys[3], config.classes).astype(jnp.int32), order_M

    view, labels_VC, order_VM = jax.vmap(draw)(numbers_V)
    seen_VM = jax.vmap(lambda labels_C, order_M: labels_C[classes_M[order_M]])(labels_VC, order_VM)
    x_VMF = jax.vmap(lambda view, order_M: _seen(view, own, z_MF[order_M]))(view, order_VM)
    return _Told(read(network_of(config), params, x_VMF, seen_VM), seen_VM[:, -1], labels_VC, view)


def _view(z_MF: jax.Array, weight_F: jax.Array, own: jax.Array, waving: Any, shifting: Any, turning: Any) -> _View:
    features = len(weight_F)
    waves_FF = jax.random.normal(waving, (features, features)) * (WAVE / jnp.sqrt(jnp.maximum(own, 1)))
    phase_F = jax.random.uniform(shifting, (features,), maxval=2 * jnp.pi)
    wave_MF = jnp.cos(z_MF @ waves_FF + phase_F[None, :])
    turn_FF = weight_F[:, None] * jax.random.orthogonal(turning, features)
    return _View(waves_FF, phase_F, wave_MF.mean(axis=0), jnp.maximum(wave_MF.std(axis=0), 1e-3), turn_FF)


def _seen(view: _View, own: jax.Array, z_QF: jax.Array) -> jax.Array:
    """Rows as a vote sees them; float32 [Q, F]."""
    wave_QF = (jnp.cos(z_QF @ view.waves_FF + view.phase_F[None, :]) - view.mean_F[None, :]) / view.std_F[None, :]
    return jnp.where(jnp.arange(z_QF.shape[1])[None, :] < own, z_QF, wave_QF) @ view.turn_FF


@functools.partial(jax.jit, static_argnums=0)
def _answer(config: LearnerConfig, params: Any, told: _Told, own: jax.Array, z_QF: jax.Array) -> jax.Array:
    """Logits of the table's classes in their own order, and of labels that it does not use; float32 [V, Q, C]."""
    x_VQF = jax.vmap(_seen, in_axes=(0, None, None))(told.view, own, z_QF)
    logits_VQC = answer(network_of(config), params, told.state, x_VQF, told.last_V)
    return jnp.take_along_axis(logits_VQC, told.labels_VC[:, None, :], axis=2)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _checked(config: LearnerConfig, x_MF: np.ndarray, labels_M: np.ndarray, x_QF: np.ndarray) -> np.ndarray:
    """The labels as int32, if the table fits the learner."""
    labels_M = np.asarray(labels_M)
    if x_MF.ndim != 2 or x_QF.ndim != 2 or x_MF.shape[1] != x_QF.shape[1] or labels_M.shape != x_MF.shape[:1]:
        raise UserError(
            f"tables of shapes {x_MF.shape} and {x_QF.shape} with labels of {labels_M.shape}",
            "give rows of the same features, and a label for each of the first",
        )
    if not x_MF.size:
        raise UserError("no labelled rows, or no features", "give some of both")
    check_sizes(config, examples=len(x_MF), features=x_MF.shape[1], classes=int(labels_M.max()) + 1)
    for x in (x_MF, x_QF):
        if not np.isfinite(x).all():
            row, feature = np.argwhere(~np.isfinite(x))[0]
            raise UserError(f"row {row}, feature {feature} is {x[row, feature]}", "give finite numbers")
    if labels_M.min() < 0 or not np.issubdtype(labels_M.dtype, np.integer):
        raise UserError(f"labels are {labels_M.dtype} from {labels_M.min()}", "number the classes from 0")
    count_K = np.bincount(labels_M)
    if not count_K.all():
        raise UserError(f"class {int(count_K.argmin())} has no row", "number the classes that have some")
    return labels_M.astype(np.int32)


def check_sizes(config: LearnerConfig, *, examples: int, features: int, classes: int) -> None:
    """Passes if a learner can read a table of these sizes.

    Raises:
        UserError: it has too many labelled rows, features or classes, or fewer than two classes.
    """
    if classes > config.classes:
        raise UserError(
            f"{classes} classes, but the learner tells at most {config.classes} apart",
            "merge some, or give a learner with more; a label that is a measure can be cut into a few ranges",
        )
    if classes < 2:
        raise UserError(f"{classes} class: there is nothing to tell apart", "give rows of two classes or more")
    if features > config.features:
        raise UserError(
            f"{features} features, but the learner reads at most {config.features}",
            "leave out the least useful columns, or give a learner with more",
        )
    if examples > most_examples(config):
        raise UserError(
            f"{examples} labelled rows, but the learner reads at most {most_examples(config)}", "take some of them"
        )


def most_examples(config: LearnerConfig) -> int:
    """How many labelled rows a learner can read before it is asked about one more."""
    return config.examples - 1
