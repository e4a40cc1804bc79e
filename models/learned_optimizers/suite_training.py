"""Trainings of a suite's task: many at a time in one program, each with its own random numbers and learning rate.

N = trainings, P = points of a curve.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.learned_optimizers.tasks import Task, begin, loss_and_gradient
from shammie.errors import UserError

SUITE_KEY = 0x5E17E  # apart from every meta-training's worlds

MakeOptimizer = Callable[[Any], optax.GradientTransformation]
# these compile in half the time, and what they make is as fast: programs here are small
_COMPILER_OPTIONS: dict[str, Any] = {"xla_backend_optimization_level": 1}


def points_of(steps: int, every: int) -> list[int]:
    """After how many steps a curve has points: every, 2 * every, ..., steps.

    Raises:
        UserError: steps is not a multiple of every, or one is below 1.
    """
    if every < 1 or steps < 1 or steps % every:
        raise UserError(f"{steps} steps with a point each {every}", "give steps that points divide")
    return list(range(every, steps + 1, every))


def train(
    task: Task,
    make: MakeOptimizer,
    seeds_N: Sequence[int],
    given: Any,
    *,
    steps: int,
    every: int,
    shared: bool = False,
) -> np.ndarray:
    """Trains N times, all in one program.

    A seed is a world, first parameters and batches: the same for every optimizer, so that differences are paired.

    Args:
        task: what is trained.
        make: what `given` is to an optimizer: called once, with one training's part of `given`, traced.
        seeds_N: one for each training.
        given: what an optimizer is made of, a pytree with leaves [N, ...]: learning rates or meta-parameters.
        steps: of each training.
        every: steps from a point of the curve to the next.
        shared: all trainings have the same `given`, which has no axis N.

    Returns:
        float32 [N, P]: at each point the mean of the losses before each of the last `every` steps. Every batch is
        fresh, so a loss before its step is a held-out one.
    """
    points = len(points_of(steps, every))
    return np.asarray(_train(task, make, np.asarray(seeds_N, np.int32), given, points, every, shared))


@functools.partial(jax.jit, static_argnums=(0, 1, 4, 5, 6), compiler_options=_COMPILER_OPTIONS)
def _train(
    task: Task, make: MakeOptimizer, seeds_N: Any, given: Any, points: int, every: int, shared: bool
) -> jax.Array:
    def one(seed: jax.Array, given: Any) -> jax.Array:
        return _train_one(task, make(given), seed, points, every)

    return jax.vmap(one, in_axes=(0, None if shared else 0))(seeds_N, given)


def _train_one(task: Task, plain: optax.GradientTransformation, seed: jax.Array, points: int, every: int) -> jax.Array:
    optimizer = optax.with_extra_args_support(plain)  # learned ones are told the loss
    begin_key, step_key = jax.random.split(jax.random.fold_in(jax.random.key(SUITE_KEY), seed))
    training = begin(task, begin_key)

    def step(state: Any, number: jax.Array) -> tuple[Any, jax.Array]:
        training, memory = state
        loss, gradient, training = loss_and_gradient(task, training, jax.random.fold_in(step_key, number))
        updates, memory = optimizer.update(gradient, memory, training.params, value=loss)
        return (training._replace(params=optax.apply_updates(training.params, updates)), memory), loss

    start = training, optimizer.init(training.params)
    _, losses_T = jax.lax.scan(step, start, jnp.arange(points * every))
    return jnp.mean(losses_T.reshape(points, every), axis=1)
