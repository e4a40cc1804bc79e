"""Classifiers that nobody meta-trained, on the contexts that the learners read.

Each is a `Baseline`: called with examples x_BNF (float32), their labels_BN (int32), the number of classes C and
positions (P of them, each 0 ... N-1), it returns float32 [B, P, C]. The scores of position n predict the label of
example n from examples 0 ... n-1, their labels, and x of n alone. The highest score is the prediction, the first of
equals; at position 0 all are equal, which is chance. Options follow by name: `functools.partial` sets them. An example
whose label is none of 0 ... C-1 is not learned from.

B = sequences, N = examples, F = features, C = classes, P = positions.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import jax
import jax.numpy as jnp

from models.in_context.gradient_baseline import GradientConfig, online_logits
from shammie.errors import UserError, unknown

LOGISTIC = GradientConfig()

Baseline = Callable[[jax.Array, jax.Array, int, Sequence[int]], jax.Array]


def nearest_neighbour(
    x_BNF: jax.Array, labels_BN: jax.Array, classes: int, positions: Sequence[int], *, neighbours: int = 1
) -> jax.Array:
    """The vote of the nearest examples by squared distance; of equally near ones the first counts.

    Args:
        x_BNF: examples, float32.
        labels_BN: their labels, int32.
        classes: C.
        positions: which examples to predict.
        neighbours: k, how many vote; all of the examples where these are fewer.

    Returns:
        Log probabilities, float32 [B, P, C]: log((votes + 1) / (voters + C)).

    Raises:
        UserError: a position outside the context, or k or C below 1.
    """
    at_P = _checked(x_BNF, labels_BN, classes, positions)
    if neighbours < 1:
        raise UserError(f"nearest_neighbour's neighbours is {neighbours!r}", "give 1 or more")
    return _votes(x_BNF, labels_BN, at_P, classes, min(neighbours, x_BNF.shape[1]))


@functools.partial(jax.jit, static_argnames=("classes", "neighbours"))
def _votes(x_BNF: jax.Array, labels_BN: jax.Array, at_P: jax.Array, classes: int, neighbours: int) -> jax.Array:
    def sequence(x_NF: jax.Array, labels_NC: jax.Array) -> jax.Array:
        # differences, not |a|^2 + |b|^2 - 2ab: equal examples are at equal distances to the bit, on any device
        distance_PN = jnp.sum(jnp.square(x_NF[at_P][:, None, :] - x_NF[None, :, :]), axis=-1)
        past_PN = (jnp.arange(x_NF.shape[0])[None, :] < at_P[:, None]) & (labels_NC.sum(axis=1) > 0)[None, :]
        _, nearest_PK = jax.lax.top_k(jnp.where(past_PN, -distance_PN, -jnp.inf), neighbours)
        votes_PKC = labels_NC[nearest_PK] * jnp.take_along_axis(past_PN, nearest_PK, axis=1)[:, :, None]
        votes_PC = votes_PKC.sum(axis=1)
        return jnp.log((votes_PC + 1) / (votes_PC.sum(axis=1, keepdims=True) + classes))

    return jax.vmap(sequence)(x_BNF, jax.nn.one_hot(labels_BN, classes))


def ridge(
    x_BNF: jax.Array, labels_BN: jax.Array, classes: int, positions: Sequence[int], *, penalty: float = 1.0
) -> jax.Array:
    """Least squares on one-hot labels, with an intercept, and a penalty on the squared weights.

    scikit-learn's `Ridge` on one-hot labels, whose predictions are those of its `RidgeClassifier`; solved in its dual
    form, by the examples' inner products, anew at each position.

    Args:
        x_BNF: examples, float32.
        labels_BN: their labels, int32.
        classes: C.
        positions: which examples to predict.
        penalty: of the weights; the intercept has none. Far below the features' variance it costs digits of float32:
            scores of 12 standard normal features were right to 4e-6 at 1, to 6e-4 at 0.01.

    Returns:
        The predicted one-hot labels, float32 [B, P, C]. Their softmax is no probability.

    Raises:
        UserError: a position outside the context, C below 1, or a penalty not above 0.
    """
    at_P = _checked(x_BNF, labels_BN, classes, positions)
    if not 0 < penalty < math.inf:
        raise UserError(f"ridge's penalty is {penalty!r}", "give a number above 0")
    return _ridge(x_BNF, labels_BN, at_P, jnp.float32(penalty), classes)


@functools.partial(jax.jit, static_argnames="classes")
def _ridge(x_BNF: jax.Array, labels_BN: jax.Array, at_P: jax.Array, penalty: jax.Array, classes: int) -> jax.Array:
    def position(gram_NN: jax.Array, labels_NC: jax.Array, n: jax.Array) -> jax.Array:
        past_N = (jnp.arange(gram_NN.shape[0]) < n) * labels_NC.sum(axis=1)
        share_N = past_N / jnp.maximum(past_N.sum(), 1)
        # inner products about the mean of the past; what is not past becomes 0, and its weight with it
        to_mean_N = _product(gram_NN, share_N)
        about_NN = gram_NN - to_mean_N[:, None] - to_mean_N[None, :] + _product(share_N, to_mean_N)
        mean_C = _product(share_N, labels_NC)
        centred_NC = (labels_NC - mean_C[None, :]) * past_N[:, None]
        kernel_NN = about_NN * past_N[:, None] * past_N[None, :] + penalty * jnp.eye(past_N.size)
        weight_N = _solve(kernel_NN, (about_NN[n] * past_N)[:, None])[:, 0]  # of each example in the prediction
        return mean_C + _product(weight_N, centred_NC)

    return _by_position(position, x_BNF, jax.nn.one_hot(labels_BN, classes), at_P)


def lda(
    x_BNF: jax.Array, labels_BN: jax.Array, classes: int, positions: Sequence[int], *, shrinkage: float = 0.5
) -> jax.Array:
    """Linear discriminant analysis: classes are Gaussians of one covariance, which is shrunk.

    scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...)`: the covariance S within classes becomes
    (1 - shrinkage) S + shrinkage tr(S) / F. Solved by the examples' inner products (the matrix inversion lemma).

    Args:
        x_BNF: examples, float32.
        labels_BN: their labels, int32.
        classes: C.
        positions: which examples to predict.
        shrinkage: 1: the nearest mean, but for the classes' shares; near 0: the covariance as it is.

    Returns:
        Log joint densities up to a constant, float32 [B, P, C]. Classes without examples come 1 below the lowest other.
        While no class has two examples that differ, so that S is 0, the identity takes its place.

    Raises:
        UserError: a position outside the context, C below 1, or a shrinkage outside (0, 1].
    """
    at_P = _checked(x_BNF, labels_BN, classes, positions)
    if not 0 < shrinkage <= 1:
        raise UserError(f"lda's shrinkage is {shrinkage!r}", "give a number above 0, at most 1")
    return _lda(x_BNF, labels_BN, at_P, jnp.float32(shrinkage), classes)


@functools.partial(jax.jit, static_argnames="classes")
def _lda(x_BNF: jax.Array, labels_BN: jax.Array, at_P: jax.Array, shrinkage: jax.Array, classes: int) -> jax.Array:
    features = x_BNF.shape[2]

    def position(gram_NN: jax.Array, labels_NC: jax.Array, n: jax.Array) -> jax.Array:
        examples = gram_NN.shape[0]
        labels_NC = labels_NC * (jnp.arange(examples) < n)[:, None]
        count_C = labels_NC.sum(axis=0)
        total = jnp.maximum(count_C.sum(), 1)
        mean_NC = labels_NC / jnp.maximum(count_C, 1)[None, :]  # a class's mean is x^T times its column
        known_N = labels_NC.sum(axis=1)
        within = lambda y_NK: known_N[:, None] * y_NK - _product(labels_NC, _product(mean_NC.T, y_NK))  # noqa: E731
        scatter_NN = within(within(gram_NN).T)  # of the examples, each less its class's mean
        trace = jnp.trace(scatter_NN) / total
        spread = jnp.where(trace > 1e-6 * jnp.abs(jnp.diag(gram_NN)).max(), trace / features, 0)
        floor = jnp.where(spread > 0, shrinkage * spread, 1)
        keep = jnp.where(spread > 0, (1 - shrinkage) / total, 0)
        # inner products of the means with means and example, under the inverse of keep * scatter + floor * identity
        columns_NK = jnp.concatenate([mean_NC, jax.nn.one_hot(n, examples)[:, None]], axis=1)
        plain_NK = _product(gram_NN, columns_NK)
        seen_NK = within(plain_NK)
        inner_NN = keep * scatter_NN + floor * jnp.eye(examples)
        taken_NC = _solve(inner_NN, keep * seen_NK[:, :classes])
        inner_CK = (_product(mean_NC.T, plain_NK) - _product(taken_NC.T, seen_NK)) / floor
        score_C = inner_CK[:, classes] - jnp.diag(inner_CK) / 2 + jnp.log(jnp.maximum(count_C, 1) / total)
        lowest = jnp.where(count_C > 0, score_C, jnp.inf).min()
        return jnp.where(count_C > 0, score_C, jnp.where(count_C.sum() > 0, lowest - 1, 0))

    return _by_position(position, x_BNF, jax.nn.one_hot(labels_BN, classes), at_P)


def sgd(
    x_BNF: jax.Array,
    labels_BN: jax.Array,
    classes: int,
    positions: Sequence[int],
    *,
    config: GradientConfig = LOGISTIC,
) -> jax.Array:
    """A small network that learns the context online, from scratch (`gradient_baseline.online_logits`).

    Args:
        x_BNF: examples, float32.
        labels_BN: their labels, int32.
        classes: C.
        positions: which examples to predict.
        config: network, steps and optimizer.

    Returns:
        Logits, float32 [B, P, C].

    Raises:
        UserError: a position outside the context, or C below 1.
    """
    at_P = _checked(x_BNF, labels_BN, classes, positions)
    needed = max(positions) + 1
    return online_logits(x_BNF[:, :needed], labels_BN[:, :needed], classes, config)[:, at_P]


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        "nearest_neighbour": nearest_neighbour,
        "three_nearest": functools.partial(nearest_neighbour, neighbours=3),
        "ridge": ridge,
        "lda": lda,
        "logistic": sgd,
        "sgd": functools.partial(sgd, config=GradientConfig(hidden=128)),
    }
)


def baseline_of(name: str) -> Baseline:
    """A baseline by name, with its default options.

    Raises:
        UserError: there is none of that name.
    """
    if name not in BASELINES:
        raise unknown("baseline", name, BASELINES)
    return BASELINES[name]


def _checked(x_BNF: jax.Array, labels_BN: jax.Array, classes: int, positions: Sequence[int]) -> jax.Array:
    """The positions as an array, int32 [P], where everything fits."""
    if x_BNF.ndim != 3 or labels_BN.shape != x_BNF.shape[:2]:
        raise UserError(
            f"a baseline's examples have shape {x_BNF.shape}, their labels {labels_BN.shape}",
            "give [B, N, F] and [B, N]",
        )
    if classes < 1:
        raise UserError(f"a baseline's classes is {classes!r}", "give 1 or more")
    examples = x_BNF.shape[1]
    wrong = [at for at in positions if not 0 <= at < examples]
    if wrong or not len(positions):
        raise UserError(
            f"position {wrong[0]} is not in a context of {examples}" if wrong else "a baseline has no positions",
            f"give positions of 0 to {examples - 1}",
        )
    return jnp.asarray([operator.index(at) for at in positions], jnp.int32)


_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _solve(positive_NN: jax.Array, columns_NK: jax.Array) -> jax.Array:
    """The positive definite matrix's inverse times the columns, [N, K]."""
    factor = jax.scipy.linalg.cho_factor(positive_NN, lower=True)
    # with more than 10 columns of N = 100 LAPACK starts threads, which on a busy machine took 100 times as long
    some = [jax.scipy.linalg.cho_solve(factor, columns_NK[:, k : k + 8]) for k in range(0, columns_NK.shape[1], 8)]
    return jnp.concatenate(some, axis=1)


def _by_position(
    position: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    x_BNF: jax.Array,
    labels_BNC: jax.Array,
    at_P: jax.Array,
) -> jax.Array:
    """What a function of (gram_NN, labels_NC, n) returns at each position of each sequence, [B, P, C].

    Inner products are about the first example, which every later position has seen, so that the mean of the data, which
    changes nothing, costs no digits. Positions come one after the other, so that one [B, N, N] is in memory.
    """
    from_first_BNF = x_BNF - x_BNF[:, :1]
    gram_BNN = _product(from_first_BNF, jnp.swapaxes(from_first_BNF, 1, 2))
    at = jax.vmap(position, in_axes=(0, 0, None))
    return jnp.swapaxes(jax.lax.map(lambda n: at(gram_BNN, labels_BNC, n), at_P), 0, 1)
