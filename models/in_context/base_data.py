"""The data sets that tasks are made of, as the task generator reads them: one array of examples, class by class.

M = examples, F = features, D = data sets, K = the most classes that one of them has.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shammie.errors import UserError


class Examples(NamedTuple):
    """A data set: float32 [M, F], standardised, and the class of each, int32 [M], from 0."""

    x_MF: np.ndarray
    labels_M: np.ndarray


class Bank(NamedTuple):
    """Several data sets.

    Attributes:
        x_MF: their examples, class by class, with zeros for features that a set does not have.
        first_DK: the place of each class's first example; int32.
        count_DK: how many it has; int32, 0 where a set has no such class.
    """

    x_MF: jax.Array
    first_DK: jax.Array
    count_DK: jax.Array


def bank_of(sets: Sequence[Examples], features: int) -> Bank:
    """The data sets as one.

    Args:
        sets: one for each distribution of a mixture, in order.
        features: F of the learner.

    Raises:
        UserError: a set has more features, a class without examples, or what is not finite.
    """
    most = max(int(one.labels_M.max()) + 1 for one in sets)
    parts, first_DK, count_DK, before = [], [], [], 0
    for place, (x_MF, labels_M) in enumerate(sets):
        if x_MF.shape[1] > features:
            raise UserError(
                f"data set {place} has {x_MF.shape[1]} features, the learner {features}",
                "raise LearnerConfig.features, or make its images smaller",
            )
        if not np.isfinite(x_MF).all():
            raise UserError(f"data set {place} has numbers that are not finite", "clean it")
        count_K = np.bincount(labels_M, minlength=most)
        if not count_K[: labels_M.max() + 1].all():
            raise UserError(
                f"data set {place} has no example of class {int(count_K.argmin())}", "number classes from 0"
            )
        order_M = np.argsort(labels_M, kind="stable")
        parts.append(np.pad(x_MF[order_M], ((0, 0), (0, features - x_MF.shape[1]))))
        count_DK.append(count_K)
        first_DK.append(before + np.cumsum(count_K) - count_K)
        before += len(labels_M)
    numbers = lambda values: jnp.asarray(np.stack(values).astype(np.int32))  # noqa: E731
    return Bank(jnp.asarray(np.concatenate(parts), jnp.float32), numbers(first_DK), numbers(count_DK))
