"""Learning theta with an estimator's gradients: one compiled loop over iterations, and what it found on the way."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.evolution.estimator import Estimator, Info, WorkersState
from models.evolution.unrolled import Key, Params
from shammie.errors import UserError

_MOVED = 5  # fields of the state that the compiled loop moves on


class MetaState(NamedTuple):
    """Where learning is: what to save, and to go on from.

    Attributes:
        theta: the parameters.
        optimizer_state: Optax's.
        workers: the estimator's.
        iteration: updates made, int32 [].
        key: of the whole run; an iteration's key follows from it and the iteration's number.
        environment_steps: made so far, burn-in included; numpy int64 [], since int32 ends at 2e9.
        sequential_steps: those of them that follow each other, numpy int64 [].
    """

    theta: Params
    optimizer_state: Any
    workers: WorkersState
    iteration: jax.Array
    key: Key
    environment_steps: np.ndarray
    sequential_steps: np.ndarray


class Curve(NamedTuple):
    """What was seen at each of I iterations, as numpy arrays.

    Attributes:
        loss: of the perturbed trajectories, float [I].
        environment_steps: all steps of trajectories up to and with this iteration, burn-in included, int64 [I].
        sequential_steps: those of them that follow each other, int64 [I].
        counted: steps that the gradient averages over, int64 [I].
        finite: workers whose losses were finite, int64 [I].
        gradient_norm: float [I].
        updated: whether the update was made, bool [I].
        theta: with `keep_theta`, the parameters before each update, leaves [I, ...]; else None.
    """

    loss: np.ndarray
    environment_steps: np.ndarray
    sequential_steps: np.ndarray
    counted: np.ndarray
    finite: np.ndarray
    gradient_norm: np.ndarray
    updated: np.ndarray
    theta: Params | None


def begin(estimator: Estimator, optimizer: optax.GradientTransformation, theta: Params, key: Key) -> MetaState:
    """The state before the first update, burn-in done."""
    workers_key, run_key = jax.random.split(key)
    theta = jax.tree.map(jnp.asarray, theta)
    workers = jax.jit(estimator.init)(theta, workers_key)
    made, followed = estimator.burn_in_environment_steps, estimator.burn_in_sequential_steps
    return MetaState(
        theta,
        optimizer.init(theta),
        workers,
        jnp.zeros((), jnp.int32),
        run_key,
        np.asarray(made, np.int64),
        np.asarray(followed, np.int64),
    )


def advance(
    estimator: Estimator,
    optimizer: optax.GradientTransformation,
    state: MetaState,
    steps: int,
    *,
    keep_theta: bool = False,
    skip_nonfinite: bool = False,
) -> tuple[MetaState, Curve]:
    """Some more updates. In parts of any size it ends with the same bits as in one.

    Args:
        estimator: of the gradient.
        optimizer: an Optax transformation; one that wants `value` gets the estimate's loss.
        state: where to go on.
        steps: I, iterations.
        keep_theta: record the parameters before each update.
        skip_nonfinite: leave theta and the optimizer as they are where the gradient is not finite; `updated` tells.

    Returns:
        the state after them, and their curve.
    """
    if steps < 1:
        raise UserError(f"meta-training for {steps} steps", "give at least 1")
    loop = _loop(estimator, optimizer, keep_theta, skip_nonfinite)
    moved, (info, norms, updated, thetas) = loop(state[:_MOVED], steps)
    made = state.environment_steps + np.cumsum(np.asarray(info.environment_steps, np.int64))
    followed = state.sequential_steps + np.cumsum(np.asarray(info.sequential_steps, np.int64))
    curve = Curve(
        np.asarray(info.loss),
        made,
        followed,
        np.asarray(info.counted, np.int64),
        np.asarray(info.finite, np.int64),
        np.asarray(norms),
        np.asarray(updated),
        jax.tree.map(np.asarray, thetas),
    )
    return state._replace(
        **dict(zip(MetaState._fields, moved, strict=False)), environment_steps=made[-1], sequential_steps=followed[-1]
    ), curve


def meta_train(
    estimator: Estimator,
    optimizer: optax.GradientTransformation,
    theta: Params,
    steps: int,
    key: Key,
    *,
    keep_theta: bool = False,
    skip_nonfinite: bool = False,
) -> tuple[MetaState, Curve]:
    """Learns theta from the beginning.

    Args:
        estimator: of the gradient.
        optimizer: an Optax transformation.
        theta: where learning starts.
        steps: I, iterations.
        key: of everything that is drawn.
        keep_theta: as in `advance`.
        skip_nonfinite: as in `advance`.

    Returns:
        where learning ended, and its curve.
    """
    state = begin(estimator, optimizer, theta, key)
    return advance(estimator, optimizer, state, steps, keep_theta=keep_theta, skip_nonfinite=skip_nonfinite)


@functools.lru_cache(maxsize=32)
def _loop(estimator: Estimator, optimizer: optax.GradientTransformation, keep_theta: bool, skip_nonfinite: bool) -> Any:
    """The compiled loop: (what moves of the state, how many updates) -> (the same after them, what was seen)."""
    told = optax.with_extra_args_support(optimizer)

    def turn(state: tuple[Any, ...], _: None) -> tuple[Any, tuple[Info, jax.Array, jax.Array, Params | None]]:
        theta, optimizer_state, workers, iteration, key = state
        gradient, workers, info = estimator.gradient(theta, workers, jax.random.fold_in(key, iteration))
        norm = optax.tree.norm(gradient)
        updates, after = told.update(gradient, optimizer_state, theta, value=info.loss)
        following = optax.apply_updates(theta, updates), after
        updated = jnp.isfinite(norm) if skip_nonfinite else jnp.ones((), bool)
        if skip_nonfinite:
            following = jax.tree.map(lambda new, old: jnp.where(updated, new, old), following, (theta, optimizer_state))
        seen = info, norm, updated, theta if keep_theta else None
        return (*following, workers, iteration + 1, key), seen

    return jax.jit(lambda state, steps: jax.lax.scan(turn, state, None, steps), static_argnums=1)
