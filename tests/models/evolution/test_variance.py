"""The variances of the GPES family: the closed forms' numbers, and estimates beside them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.evolution import Estimator, EvolutionConfig, Unrolled, full_es, gpes, nres
from models.evolution.linear import (
    example_derivatives,
    full_es_variance,
    gpes_variance,
    linear,
    mean_gradient_of,
    nres_mean_variance,
)
from models.evolution.lorenz import LorenzConfig, first_theta, lorenz
from shammie.errors import UserError

DERIVATIVES = example_derivatives()
TRACES = {1: 52.050023, 2: 30.952338, 3: 19.580136, 6: 7.753664}
SEVERAL = 20000


def _estimates(estimator: Estimator, theta: Any, count: int, seed: int = 0) -> np.ndarray:
    """Estimates of independent sets of workers, each after its own burn-in; float [count, d]."""

    def one(key: jax.Array) -> jax.Array:
        start_key, key = jax.random.split(key)
        gradient = estimator.gradient(theta, estimator.init(theta, start_key), key)[0]
        return jnp.stack(jax.tree.leaves(gradient)) if isinstance(theta, dict) else gradient

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), count)), np.float64)


def _agrees(estimates: np.ndarray, trace: float, allowed: float) -> None:
    """Mean and trace of the covariance within so many standard errors of the known ones."""
    mean_D = mean_gradient_of(DERIVATIVES)
    error_D = estimates.std(axis=0, ddof=1) / len(estimates) ** 0.5
    assert (np.abs(estimates.mean(axis=0) - mean_D) < 4 * error_D).all()
    squares = np.sum((estimates - mean_D) ** 2, axis=1)
    error = squares.std(ddof=1) / len(squares) ** 0.5
    assert abs(squares.mean() - trace) < allowed * error
    assert error < 0.1 * trace


def test_the_closed_forms_have_the_known_numbers() -> None:
    np.testing.assert_allclose(mean_gradient_of(DERIVATIVES), (0.0174463, 0.50722027, 0.80972823), rtol=1e-6)
    for reuse, trace in TRACES.items():
        assert gpes_variance(DERIVATIVES, reuse) == pytest.approx(trace, abs=1e-6)
    assert gpes_variance(DERIVATIVES, 7) == gpes_variance(DERIVATIVES, 6)
    assert full_es_variance(DERIVATIVES) == pytest.approx(3.6529463705, abs=1e-9)
    assert nres_mean_variance(DERIVATIVES) == pytest.approx(1.2922773748, abs=1e-9)
    assert nres_mean_variance(DERIVATIVES, window=6) == pytest.approx(5 * 0.9132365926 - 0.9132365926, abs=1e-9)


@pytest.mark.parametrize(
    "reuse", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow), 6]
)
def test_estimates_have_the_variance_of_the_closed_form(reuse: int) -> None:
    estimator = gpes(linear(DERIVATIVES), EvolutionConfig(particles=1, window=1, sigma=0.7), reuse=reuse)
    _agrees(_estimates(estimator, jnp.array([0.3, -1.0, 2.0]), SEVERAL), TRACES[reuse], 3)


@pytest.mark.slow
def test_full_es_and_the_mean_of_independent_workers_have_theirs() -> None:
    problem, theta = linear(DERIVATIVES), jnp.array([0.3, -1.0, 2.0])
    config = EvolutionConfig(particles=1, window=1, sigma=0.7)
    _agrees(_estimates(full_es(problem, config), theta, SEVERAL), full_es_variance(DERIVATIVES), 3)
    six = EvolutionConfig(particles=6, window=1, sigma=0.7)
    _agrees(_estimates(nres(problem, six), theta, SEVERAL), nres_mean_variance(DERIVATIVES), 3)


@pytest.mark.slow
def test_on_lorenz_reuse_lowers_the_variance() -> None:
    """The closed form with Lorenz's derivatives at the first theta, and estimates beside it where sigma is small.

    Not every step of K helps (K = 5 is a little worse than 1), but none is as good as one noise per episode.
    """
    steps = 100
    problem, theta = lorenz(LorenzConfig(horizon=steps)), first_theta(LorenzConfig())

    def losses(thetas_T: Any) -> jax.Array:
        numbers_T = jnp.arange(steps)
        key = jax.random.key(0)
        return jax.lax.scan(
            lambda s, x: problem.step(x[0], s, x[1], key), problem.init(theta, key), (thetas_T, numbers_T)
        )[1]

    by_step = jax.jit(jax.jacrev(losses))(jax.tree.map(lambda leaf: jnp.full(steps, leaf), theta))
    derivatives_TTD = np.stack([by_step["log_a"], by_step["log_r"]], axis=-1)
    known = {reuse: gpes_variance(derivatives_TTD, reuse) for reuse in (1, 5, 10, 20, 50, 100)}
    assert known[5] > known[1] > known[10] > known[20] > known[50] > known[100]
    assert known[1] > 1.3 * known[100]
    for reuse in (1, 100):
        config = EvolutionConfig(particles=1, window=1, sigma=0.002)
        found = _estimates(gpes(problem, config, reuse=reuse), theta, 20000)
        squares = np.sum((found - mean_gradient_of(derivatives_TTD)) ** 2, axis=1)
        error = squares.std(ddof=1) / len(squares) ** 0.5
        assert abs(squares.mean() - known[reuse]) < 3 * error
        assert error < 0.1 * known[reuse]


def _of_one_step(loss: Callable[[jax.Array], jax.Array]) -> Unrolled:
    return Unrolled(lambda theta, key: jnp.zeros(()), lambda theta, state, number, key: (state, loss(theta)), 1)


def test_on_a_quadratic_the_mean_is_its_gradient_and_the_variance_known() -> None:
    """E = H theta whatever sigma is, and the variance of each coordinate |g|^2 + g_i^2, as if it were linear."""
    hessian = jnp.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.2]])
    theta = jnp.array([1.0, -2.0, 0.5])
    problem, gradient = _of_one_step(lambda theta: theta @ hessian @ theta / 2), np.asarray(hessian @ theta)
    found = _estimates(full_es(problem, EvolutionConfig(particles=1, sigma=3.0)), theta, 100_000)
    known = np.sum(gradient**2) + gradient**2
    assert (np.abs(found.mean(axis=0) - gradient) < 4 * np.sqrt(known / len(found))).all()
    np.testing.assert_allclose(found.var(axis=0), known, rtol=0.05)


def test_signs_of_differences_have_the_gradient_s_direction_and_a_known_length() -> None:
    """E[sign(g . e) e] = sqrt(2 / pi) g / |g| for normal e; ours is that over 2 sigma, as VeLO's meta-training."""
    gradient, sigma, pairs = np.array([1.0, -2.0, 0.5]), 0.25, 200_000
    estimator = full_es(
        _of_one_step(lambda theta: theta @ jnp.asarray(gradient, jnp.float32)),
        EvolutionConfig(particles=pairs, sigma=sigma, sign=True),
    )
    found = jax.jit(estimator.gradient)(jnp.zeros(3), jnp.arange(pairs), jax.random.key(0))[0]
    known = np.sqrt(2 / np.pi) * gradient / np.linalg.norm(gradient) / (2 * sigma)
    np.testing.assert_allclose(found, known, atol=4 / (2 * sigma) / pairs**0.5)


def test_derivatives_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(6, 5, 3\)"):
        linear(DERIVATIVES[:, :5])
    with pytest.raises(UserError, match="window 4 and horizon 6"):
        nres_mean_variance(DERIVATIVES, window=4)
