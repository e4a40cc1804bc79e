"""Estimators that differentiate: exact where they should be, unbiased where they should be, biased where they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.evolution import Estimator, EvolutionConfig, Unrolled, backprop, dodge, losses, truncated_backprop, uoro
from models.evolution.quadratic import QuadraticConfig, quadratic
from shammie.errors import UserError

HORIZON = 6


def _step(theta: dict[str, jax.Array], state: Any, number: jax.Array, key: jax.Array) -> Any:
    """A small recurrent network with a counter beside its state, and a loss that sees theta as well."""
    hidden, count = state
    hidden = jnp.tanh(theta["w"] @ hidden + theta["b"] * (number + 1))
    return (hidden, count + 1), jnp.sum(hidden * jnp.array([1.0, -2.0])) ** 2 + theta["b"][0] * count


PROBLEM = Unrolled(lambda theta, key: (theta["b"] * 0.5 + 0.2, jnp.int32(0)), _step, HORIZON)
THETA = {"w": jnp.array([[0.6, -0.4], [0.3, 0.8]]), "b": jnp.array([0.3, -0.2])}
EXACT = jax.grad(lambda theta: jnp.mean(losses(PROBLEM, theta, jax.random.key(0))))(THETA)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled in a hurry: these tests run each function a few times."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def _mean_and_error(estimator: Estimator, windows: int = 24, skip: int = HORIZON) -> tuple[np.ndarray, np.ndarray]:
    """The mean of a run's estimates, and its standard error, taken between windows of one episode's length."""
    gradient = _compiled(estimator.gradient)
    workers = _compiled(estimator.init)(THETA, jax.random.key(1))
    found = []
    for number in range(skip + windows):
        estimate, workers, info = gradient(THETA, workers, jax.random.key(10 + number))
        found.append(_flat(estimate))
        if number >= skip:
            assert int(info.counted) == int(info.environment_steps)
    found = np.array(found[skip:])
    return found.mean(axis=0), found.std(axis=0, ddof=1) / len(found) ** 0.5


def test_backprop_is_exact() -> None:
    estimator = backprop(PROBLEM, EvolutionConfig(particles=3, window=2))
    gradient, _, info = _compiled(estimator.gradient)(THETA, jnp.arange(3), jax.random.key(0))
    np.testing.assert_allclose(_flat(gradient), _flat(EXACT), rtol=1e-5)
    assert float(info.loss) == pytest.approx(float(jnp.mean(losses(PROBLEM, THETA, jax.random.key(0)))), rel=1e-6)
    assert (int(info.environment_steps), int(info.sequential_steps)) == (18, 6)


@pytest.mark.parametrize(
    ("build", "window"),
    [
        pytest.param(uoro, 2, id="uoro"),
        pytest.param(uoro, 4, id="uoro-within", marks=pytest.mark.slow),
        pytest.param(dodge, 4, id="dodge-within"),
        pytest.param(dodge, 2, id="dodge", marks=pytest.mark.slow),
        pytest.param(lambda p, c: dodge(p, c, reuse=2), 2, id="dodge-2", marks=pytest.mark.slow),
    ],
)
def test_forward_methods_are_unbiased(build: Callable[..., Estimator], window: int) -> None:
    """Theta acts through the initial state, the transition and the loss; a window of 4 is not a part of 6 steps."""
    mean, error = _mean_and_error(build(PROBLEM, EvolutionConfig(particles=3000, window=window, burn_in=0)))
    assert (np.abs(mean - _flat(EXACT)) < 4 * error + 1e-4).all()
    assert error.max() < 0.1 * np.abs(_flat(EXACT)).max()


@pytest.mark.parametrize("window", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_truncated_backprop_forgets_what_was_before_the_window(window: int) -> None:
    config = EvolutionConfig(particles=600, window=window, burn_in=0)
    mean, _ = _mean_and_error(truncated_backprop(PROBLEM, config), windows=12)
    states = [PROBLEM.init(THETA, None)]
    for number in range(HORIZON):
        states.append(_step(THETA, states[-1], jnp.int32(number), jax.random.key(0))[0])

    def window_losses(theta: Any, start: int, stop: int) -> jax.Array:
        state, total = (PROBLEM.init(theta, None) if start == 0 else states[start]), jnp.zeros(())
        for number in range(start, stop):
            state, loss = _step(theta, state, jnp.int32(number), jax.random.key(0))
            total += loss
        return total

    if window == 2:  # every worker's windows are these
        parts = [_flat(jax.grad(window_losses)(THETA, start, start + 2)) for start in (0, 2, 4)]
        np.testing.assert_allclose(mean, np.sum(parts, axis=0) / 6, rtol=0.02, atol=1e-3)
    assert np.abs(mean - _flat(EXACT)).max() > 0.05 * np.abs(_flat(EXACT)).max()


def test_windows_as_long_as_the_episode_are_backprop() -> None:
    config = EvolutionConfig(particles=2, window=HORIZON)
    estimator = truncated_backprop(PROBLEM, config)
    workers = _compiled(estimator.init)(THETA, jax.random.key(0))
    gradient = _compiled(estimator.gradient)(THETA, workers, jax.random.key(0))[0]
    np.testing.assert_allclose(_flat(gradient), _flat(EXACT), rtol=1e-5)


@pytest.mark.parametrize(
    "build", [backprop, truncated_backprop, *(pytest.param(one, marks=pytest.mark.slow) for one in (uoro, dodge))]
)
def test_integers_stay_and_workers_that_are_not_finite_are_left_out(build: Callable[..., Estimator]) -> None:
    theta = {"w": jnp.array(1.0), "count": jnp.array(2)}

    def step(theta: Any, state: jax.Array, number: jax.Array, key: jax.Array) -> Any:
        state = state + theta["w"] * theta["count"]
        return state, state * jnp.where(jax.random.uniform(key) < 0.1, jnp.nan, 1.0)

    problem = Unrolled(lambda theta, key: jnp.zeros(()), step, 4)
    for skip in (True, False) if build is backprop else (True,):
        config = EvolutionConfig(particles=60, window=2, burn_in=0, offsets=False, skip_nonfinite=skip)
        estimator = build(problem, config)
        workers = _compiled(estimator.init)(theta, jax.random.key(0))
        gradient, _, info = _compiled(estimator.gradient)(theta, workers, jax.random.key(1))
        assert int(gradient["count"]) == 0
        assert gradient["count"].dtype == jnp.int32
        assert 0 < int(info.finite) < 60
        assert np.isfinite(float(gradient["w"])) == skip
        if skip and build is backprop:
            assert float(gradient["w"]) == pytest.approx(5.0)
        elif skip and build is truncated_backprop:
            assert float(gradient["w"]) == pytest.approx(3.0)


def test_reuse_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="reuse is 3, the window 2 and the horizon 10"):
        dodge(quadratic(QuadraticConfig(horizon=10)), EvolutionConfig(window=2), reuse=3)
