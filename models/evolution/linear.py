"""Losses that are linear in the parameters of every step: the estimators' variances are known there exactly."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from models.evolution.unrolled import Key, Params, State, Unrolled
from shammie.errors import UserError


def linear(derivatives_TTD: np.ndarray) -> Unrolled:
    """L_t = sum over s <= t of G_{t,s} . theta_s, where theta_s is the theta of step s.

    The state holds the sums that step s adds to all later losses. With one theta for all steps the objective's gradient
    is the mean over t of g_t = sum_s G_{t,s}.

    Args:
        derivatives_TTD: G, float [T, T, d]; entries with s > t are not read.
    """
    g_TTD = np.asarray(derivatives_TTD)
    if g_TTD.ndim != 3 or g_TTD.shape[0] != g_TTD.shape[1]:
        raise UserError(f"derivatives of shape {g_TTD.shape}", "give [T, T, d]")
    steps = g_TTD.shape[0]

    def init(theta: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return jnp.zeros(steps, theta.dtype)

    def step(theta: jax.Array, sums_T: jax.Array, number: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        del key
        sums_T = sums_T + jnp.asarray(g_TTD, theta.dtype)[:, number] @ theta
        return sums_T, sums_T[number]

    return Unrolled(init, step, steps)


def example_derivatives() -> np.ndarray:
    """An example with known numbers, float [6, 6, 3]: [sin(1 + t + 2 s), cos(t - s), 1 / (1 + t + s)] for s <= t."""
    t, s = np.mgrid[:6, :6].astype(float)
    g_TTD = np.stack([np.sin(1 + t + 2 * s), np.cos(t - s), 1 / (1 + t + s)], axis=-1)
    return np.where((s <= t)[..., None], g_TTD, 0.0)


def derivatives_of(problem: Unrolled, theta: Params, key: Key) -> np.ndarray:
    """G of any problem at theta: derivatives of step t's loss by the theta of step s; float64 [T, T, d].

    With them the closed forms below say what the variances would be if losses were linear. Memory and time grow with
    T^2 d.

    Args:
        problem: what is unrolled; what it begins with counts as a dependence of its own, which is left out.
        theta: the parameters, any pytree of floating-point leaves.
        key: of the episode.
    """
    flat_D, back = ravel_pytree(theta)
    init_key, step_key = jax.random.split(key)
    start = problem.begin(theta, init_key)

    def losses_of(thetas_TD: jax.Array) -> jax.Array:
        def step(state: State, one: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            number, theta_D = one
            return problem.step(back(theta_D), state, number, jax.random.fold_in(step_key, number))

        numbers = jnp.arange(problem.horizon, dtype=jnp.int32)
        return jax.lax.scan(step, start, (numbers, thetas_TD))[1]

    thetas_TD = jnp.broadcast_to(flat_D, (problem.horizon, flat_D.size))
    return np.asarray(jax.jit(jax.jacrev(losses_of))(thetas_TD), np.float64)


def mean_gradient_of(derivatives_TTD: np.ndarray) -> np.ndarray:
    """The objective's gradient, mean over t of g_t; float [d]."""
    return _by_time(derivatives_TTD).mean(axis=0)


def gpes_variance(derivatives_TTD: np.ndarray, reuse: int) -> float:
    """The trace of the covariance of one GPES_K worker's estimate at W = 1 and a uniform step.

    (1/T) sum_t [d m_t sum_{b <= m_t} |G_{t,b}|^2 + 2 |g_t|^2] - |mean g|^2, where b runs over blocks of K steps and m_t
    counts those that have begun. sigma cancels.

    Args:
        derivatives_TTD: G, float [T, T, d].
        reuse: K; T gives NRES.
    """
    g_TTD = np.asarray(derivatives_TTD, np.float64)
    steps, _, dimensions = g_TTD.shape
    g_TD = _by_time(g_TTD)
    total = 0.0
    for t in range(steps):
        starts = range(0, t + 1, reuse)
        blocks = sum(float(np.sum(g_TTD[t, b : min(b + reuse, t + 1)].sum(axis=0) ** 2)) for b in starts)
        total += dimensions * len(starts) * blocks + 2 * float(np.sum(g_TD[t] ** 2))
    return total / steps - float(np.sum(g_TD.mean(axis=0) ** 2))


def full_es_variance(derivatives_TTD: np.ndarray) -> float:
    """The trace of the covariance of full ES with one pair: (d + 1) |mean g|^2."""
    mean_D = mean_gradient_of(derivatives_TTD)
    return (mean_D.size + 1) * float(np.sum(mean_D**2))


def nres_mean_variance(derivatives_TTD: np.ndarray, window: int = 1) -> float:
    """The trace of the covariance of NRES averaged over N = T / W independent workers: as many steps as full ES.

    [(d + 2) (1/N) sum_j |g_j|^2 - |mean g|^2] / N, with g_j the mean of g_t over window j.
    """
    g_TD = _by_time(derivatives_TTD)
    steps, dimensions = g_TD.shape
    if steps % window:
        raise UserError(f"window {window} and horizon {steps}", "give a window that divides the horizon")
    g_ND = g_TD.reshape(steps // window, window, dimensions).mean(axis=1)
    workers = g_ND.shape[0]
    squares = (dimensions + 2) * float(np.sum(g_ND**2)) / workers
    return (squares - float(np.sum(g_ND.mean(axis=0) ** 2))) / workers


def _by_time(derivatives_TTD: np.ndarray) -> np.ndarray:
    """g_t, the sum over s <= t; float [T, d]."""
    g_TTD = np.asarray(derivatives_TTD, np.float64)
    return np.stack([g_TTD[t, : t + 1].sum(axis=0) for t in range(g_TTD.shape[0])])
