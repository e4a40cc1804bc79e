"""A user's table as a meta-trained learner reads it: in-context classification, with no training.

What is asked of a table's columns and labels is what meta-training made irrelevant: their order, their names and any
rotation of them. Each vote draws these anew, and the votes are averaged. M = labelled rows, Q = rows to classify,
F = features (of the table, until they are padded to the learner's), K = classes of the table, C = of the learner,
V = votes.
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

    Features are standardised (`standardised`) and scaled, so that the squared norm of a labelled row is the learner's
    number of features on average, as in meta-training. Each vote rotates them at random within the learner's features,
    gives the classes other labels, and reads the rows in another order. Vote v of a seed is the same however many
    there are, and no row's answer depends on the other rows that are asked about.

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
    x_MG, x_QG = (jnp.asarray(x) for x in as_inputs(*standardised(x_MF, x_QF), trained.config.features))
    x_QG = jnp.pad(x_QG, ((0, -count % QUESTIONS_AT_ONCE), (0, 0)))  # every chunk is of one compiled size
    params = jax.tree.map(jnp.asarray, trained.params)
    total_QK = np.zeros((len(x_QG), classes))
    for first in range(0, votes, VOTES_AT_ONCE):
        numbers_V = jnp.arange(first, min(votes, first + VOTES_AT_ONCE))
        told = _read(trained.config, params, x_MG, jnp.asarray(labels_M), jax.random.key(seed), numbers_V)
        for start in range(0, len(x_QG), QUESTIONS_AT_ONCE):
            asked = slice(start, start + QUESTIONS_AT_ONCE)
            logits_VQC = np.asarray(_answer(trained.config, params, told, x_QG[asked]), np.float64)
            total_QK[asked] += _log_softmax(logits_VQC[:, :, :classes]).sum(axis=0)
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


def as_inputs(z_MF: np.ndarray, z_QF: np.ndarray, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised tables, padded with zeros and scaled; float32 [M, features] and [Q, features].

    Args:
        z_MF: labelled rows: their mean squared norm becomes `features`.
        z_QF: others, scaled alike.
        features: of the learner.
    """
    square = np.square(z_MF).sum(axis=1).mean()
    scale = np.sqrt(features / square) if square else 1.0
    pad = lambda z: np.pad(z * scale, ((0, 0), (0, features - z.shape[1]))).astype(np.float32)  # noqa: E731
    return pad(z_MF), pad(z_QF)


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


class _Told(NamedTuple):
    """What the votes have read.

    Attributes:
        state: of `learner.read`, V rows.
        last_V: the label of the last example, int32.
        labels_VC: the label that each class has, int32.
        rotation_VFF: of the features.
    """

    state: Any
    last_V: jax.Array
    labels_VC: jax.Array
    rotation_VFF: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def _read(
    config: LearnerConfig, params: Any, x_MF: jax.Array, classes_M: jax.Array, key: jax.Array, numbers_V: jax.Array
) -> _Told:
    def draw(number: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rotating, labelling, ordering = jax.random.split(jax.random.fold_in(key, number), 3)
        rotation_FF = jax.random.orthogonal(rotating, config.features)
        order_M = jax.random.permutation(ordering, len(classes_M))
        return rotation_FF, jax.random.permutation(labelling, config.classes).astype(jnp.int32), order_M

    rotation_VFF, labels_VC, order_VM = jax.vmap(draw)(numbers_V)
    seen_VM = jax.vmap(lambda labels_C, order_M: labels_C[classes_M[order_M]])(labels_VC, order_VM)
    state = read(network_of(config), params, jnp.matmul(x_MF[order_VM], rotation_VFF), seen_VM)
    return _Told(state, seen_VM[:, -1], labels_VC, rotation_VFF)


@functools.partial(jax.jit, static_argnums=0)
def _answer(config: LearnerConfig, params: Any, told: _Told, x_QF: jax.Array) -> jax.Array:
    """Logits of the table's classes in their own order, and of labels that it does not use; float32 [V, Q, C]."""
    x_VQF = jnp.einsum("qf,vfg->vqg", x_QF, told.rotation_VFF)
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
