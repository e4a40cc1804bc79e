"""Gradients by reverse differentiation, of whole episodes or of windows: the paper's references. N = workers.

Each worker is one trajectory under theta itself, without perturbation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.evolution.config import EvolutionConfig
from models.evolution.estimator import Estimator, Gradient, Info
from models.evolution.perturbation import choose, is_float
from models.evolution.unrolled import Key, Params, State, Unrolled
from models.evolution.workers import HORIZON, INIT, STEP, draw_horizons, draw_offsets, keys_for, one_key, worker_keys


class Trajectories(NamedTuple):
    """Workers of one trajectory each, between two windows.

    Attributes:
        number: which worker, int32 [N].
        step: steps made in its episode, int32 [N]; 0 means that a new one begins.
        horizon: of its episode, int32 [N].
        inner: states, leaves [N, ...].
        carried: what a method takes along beside them, leaves [N, ...].
    """

    number: jax.Array
    step: jax.Array
    horizon: jax.Array
    inner: State
    carried: Any = None


def first_trajectories(problem: Unrolled, config: EvolutionConfig, theta: Params, key: Key) -> Trajectories:
    """Workers at their offsets, in fresh states."""
    number_N = jnp.arange(config.particles, dtype=jnp.int32)
    horizon_N = draw_horizons(config, problem.horizon, keys_for(key, number_N, 0, HORIZON))
    step_N = draw_offsets(config, horizon_N, keys_for(key, number_N, 0, STEP))
    inner = jax.vmap(problem.begin, in_axes=(None, 0, 0))(theta, keys_for(key, number_N, 0, INIT), horizon_N)
    return Trajectories(number_N, step_N, horizon_N, inner)


def next_horizon(problem: Unrolled, config: EvolutionConfig, key: Key, place: jax.Array | int) -> jax.Array:
    """The horizon of one worker's next episode, int32 []."""
    return draw_horizons(config, problem.horizon, one_key(key, place, HORIZON)[None])[0]


def zero_integer_parts(gradient: Gradient, theta: Params) -> Gradient:
    """A gradient whose parts for leaves that are not floating point are zeros of the leaf's dtype."""
    return jax.tree.map(
        lambda g, leaf: g if is_float(leaf) else jnp.zeros(jnp.shape(leaf), jnp.result_type(leaf)), gradient, theta
    )


def mean_gradient(
    config: EvolutionConfig, total: Any, theta: Params, of_workers: Gradient, losses_N: jax.Array
) -> tuple[Gradient, jax.Array, jax.Array, jax.Array]:
    """From sums over each worker's steps to the mean over all.

    Args:
        config: `skip_nonfinite` leaves out workers whose loss or gradient is not finite.
        total: steps of each worker, int32 [N].
        theta: the parameters.
        of_workers: gradients of each worker's sum of losses, leaves [N, ...].
        losses_N: those sums.

    Returns:
        the gradient, the mean loss, steps that count (int32 []), workers that are finite (int32 []).
    """
    finite_N = jnp.isfinite(losses_N)
    for leaf in jax.tree.leaves(of_workers):
        if is_float(leaf):
            finite_N &= jnp.all(jnp.isfinite(leaf.reshape(leaf.shape[0], -1)), axis=1)
    used_N = finite_N if config.skip_nonfinite else jnp.ones_like(finite_N)
    counted = jnp.sum(jnp.where(used_N, total, 0))
    divisor = jnp.maximum(counted, 1)

    def mean(leaf: jax.Array) -> jax.Array:
        if not is_float(leaf):
            return jnp.zeros(leaf.shape[1:], leaf.dtype)
        return jnp.sum(choose(used_N, leaf, jnp.zeros_like(leaf)), axis=0) / divisor.astype(leaf.dtype)

    gradient = zero_integer_parts(jax.tree.map(mean, of_workers), theta)
    loss = jnp.sum(jnp.where(used_N, losses_N, 0)) / divisor
    return gradient, loss, counted, jnp.sum(finite_N.astype(jnp.int32))


def truncated_backprop(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """TBPTT: the gradient of a window's mean loss, as if the state that it starts from did not depend on theta.

    Biased, by what the window forgets. Memory grows with the window; sigma and noise play no part.
    """
    config.check_horizon(problem.horizon)
    whole, window = config.windows_hold(problem.horizon), config.window

    def summed_losses(theta: Params, worker: Trajectories, key: Key) -> tuple[jax.Array, Trajectories]:
        """The sum of one worker's losses over the window, and where it is then."""

        def begun(worker: Trajectories, place: jax.Array | int) -> Trajectories:
            starts = worker.step == 0
            horizon = jnp.where(starts, next_horizon(problem, config, key, place), worker.horizon)
            fresh = problem.begin(theta, one_key(key, place, INIT), horizon)
            inner = jax.tree.map(lambda new, old: jnp.where(starts, new, old), fresh, worker.inner)
            return worker._replace(horizon=horizon, inner=inner)

        def turn(worker: Trajectories, place: jax.Array) -> tuple[Trajectories, jax.Array]:
            if not whole:
                worker = begun(worker, place)
            inner, loss = problem.step(theta, worker.inner, worker.step, one_key(key, place, STEP))
            step = worker.step + 1
            return worker._replace(inner=inner, step=jnp.where(step >= worker.horizon, 0, step)), loss

        worker = begun(worker, 0) if whole else worker
        worker, losses_W = jax.lax.scan(turn, worker, jnp.arange(window, dtype=jnp.int32), unroll=config.unroll)
        return jnp.sum(losses_W), worker

    def gradient(theta: Params, workers: Trajectories, key: Key) -> tuple[Gradient, Trajectories, Info]:
        keys_N = worker_keys(key, workers.number)
        of_one = jax.value_and_grad(summed_losses, has_aux=True, allow_int=True)
        (losses_N, after), of_workers = jax.vmap(of_one, in_axes=(None, 0, 0))(theta, workers, keys_N)
        of_workers = without_float0(of_workers, theta, losses_N.shape[0])
        steps_N = jnp.full(losses_N.shape, window, jnp.int32)
        total, loss, counted, finite = mean_gradient(config, steps_N, theta, of_workers, losses_N)
        made = jnp.asarray(losses_N.shape[0] * window, jnp.int32)
        return total, after, Info(loss, made, jnp.asarray(window, jnp.int32), counted, finite)

    def moved(theta: Params, workers: Trajectories, key: Key) -> Trajectories:
        keys_N = worker_keys(key, workers.number)
        return jax.vmap(summed_losses, in_axes=(None, 0, 0))(theta, workers, keys_N)[1]

    windows = config.burn_in_windows(problem.horizon)

    def init(theta: Params, key: Key) -> Trajectories:
        start_key, burn_in_key = jax.random.split(key)
        workers = first_trajectories(problem, config, theta, start_key)
        keys = jax.random.split(burn_in_key, max(windows, 1))[:windows]
        return jax.lax.scan(lambda w, k: (moved(theta, w, k), None), workers, keys)[0]

    steps = windows * window
    return Estimator("truncated_backprop", init, gradient, config.particles * steps, steps)


def backprop(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """The exact gradient of whole episodes, averaged over `particles` of them; memory grows with the horizon.

    `window`, `offsets`, `burn_in` and `sigma` do nothing; the workers are their numbers, int32 [N]. Where horizons are
    drawn, each episode's loss is its mean over its own horizon.
    """
    config.check_horizon(problem.horizon)

    def mean_of_episode(theta: Params, key: Key) -> tuple[jax.Array, jax.Array]:
        horizon = next_horizon(problem, config, key, 0)

        def turn(state: State, number: jax.Array) -> tuple[State, jax.Array]:
            after, loss = problem.step(theta, state, number, one_key(key, number, STEP))
            if config.horizon_sampling == "fixed":
                return after, loss
            active = number < horizon
            after = jax.tree.map(lambda new, old: jnp.where(active, new, old), after, state)
            return after, jnp.where(active, loss, 0)

        start = problem.begin(theta, one_key(key, 0, INIT), horizon)
        numbers = jnp.arange(problem.horizon, dtype=jnp.int32)
        losses_T = jax.lax.scan(turn, start, numbers, unroll=config.unroll)[1]
        return jnp.sum(losses_T) / horizon, horizon

    def init(theta: Params, key: Key) -> jax.Array:
        del theta, key
        return jnp.arange(config.particles, dtype=jnp.int32)

    def gradient(theta: Params, numbers_N: jax.Array, key: Key) -> tuple[Gradient, jax.Array, Info]:
        of_one = jax.value_and_grad(mean_of_episode, has_aux=True, allow_int=True)
        keys_N = worker_keys(key, numbers_N)
        (losses_N, horizon_N), of_workers = jax.vmap(of_one, in_axes=(None, 0))(theta, keys_N)
        of_workers = without_float0(of_workers, theta, losses_N.shape[0])
        each_N = jnp.ones(losses_N.shape, jnp.int32)
        total, loss, used, finite = mean_gradient(config, each_N, theta, of_workers, losses_N)
        del used
        made = jnp.sum(horizon_N)
        return total, numbers_N, Info(loss, made, jnp.max(horizon_N), made, finite)

    return Estimator("backprop", init, gradient)


def without_float0(of_workers: Gradient, theta: Params, count: int) -> Gradient:
    """JAX's gradients for integer leaves have no memory (float0): zeros [N, ...] of the leaf's dtype in their place."""

    def one(g: Any, leaf: Any) -> jax.Array:
        return g if is_float(leaf) else jnp.zeros((count, *jnp.shape(leaf)), jnp.result_type(leaf))

    return jax.tree.map(one, of_workers, theta)
