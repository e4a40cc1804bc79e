"""Estimators made of others: the mean over the families of a mixture, and over several estimates in a row."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from models.evolution.estimator import Estimator, Info
from shammie.errors import UserError


def mixture(members: Sequence[Estimator]) -> Estimator:
    """The mean of several estimators' gradients: each has its own workers, which move on in every estimate.

    One family after the other runs in one compiled program, so that an estimate costs the sum of theirs. Drawing one
    family an iteration instead would make Adam's averages of gradients ones over families, in turns.

    Args:
        members: one for each family of tasks, over the same theta.

    Raises:
        UserError: there are none.
    """
    if not members:
        raise UserError("a mixture of no tasks", "give at least one")
    if len(members) == 1:
        return members[0]

    def init(theta: Any, key: Any) -> tuple[Any, ...]:
        return tuple(one.init(theta, jax.random.fold_in(key, number)) for number, one in enumerate(members))

    def gradient(theta: Any, workers: tuple[Any, ...], key: Any) -> tuple[Any, tuple[Any, ...], Info]:
        found = [
            one.gradient(theta, mine, jax.random.fold_in(key, number))
            for number, (one, mine) in enumerate(zip(members, workers, strict=True))
        ]
        mean = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]) / len(parts), *[one[0] for one in found])
        return mean, tuple(one[1] for one in found), _together([one[2] for one in found])

    return Estimator(
        "+".join(dict.fromkeys(one.name for one in members)),
        init,
        gradient,
        sum(one.burn_in_environment_steps for one in members),
        sum(one.burn_in_sequential_steps for one in members),
    )


def repeated(estimator: Estimator, times: int) -> Estimator:
    """The mean of several estimates in a row, as VeLO accumulates gradients (arXiv:2211.09760).

    Args:
        estimator: of each estimate.
        times: how many.
    """
    if times < 1:
        raise UserError(f"the mean of {times} estimates", "give at least 1")
    if times == 1:
        return estimator

    def gradient(theta: Any, workers: Any, key: Any) -> tuple[Any, Any, Info]:
        def one(workers: Any, number: jax.Array) -> tuple[Any, tuple[Any, Info]]:
            found, workers, info = estimator.gradient(theta, workers, jax.random.fold_in(key, number))
            return workers, (found, info)

        workers, (found, infos) = jax.lax.scan(one, workers, jnp.arange(times))
        mean = jax.tree.map(lambda parts: jnp.mean(parts, axis=0), found)
        return mean, workers, _together([jax.tree.map(lambda x, n=n: x[n], infos) for n in range(times)])

    return replace(estimator, gradient=gradient)


def _together(infos: Sequence[Info]) -> Info:
    """What several estimates found and cost together."""
    total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *infos)
    return total._replace(loss=total.loss / len(infos))
