"""Adam-atan2: its size, its slope, its indifference to the gradient's scale, and Adam's lack of that."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.training import OptimizerConfig, initial_state, optimizer_of, scale_by_adam_atan2

LATE = 10**6  # steps after which no bias is left to correct
RATE = 0.125


def optimizer(**settings: Any) -> Any:
    plain = {"learning_rate": RATE, "factors": "constant", "weight_decay": 0.0, "clip_norm": 0.0}
    return optimizer_of(OptimizerConfig(**{"name": "adam_atan2", **plain, **settings}), 100)


def step_with(transformation: Any, m: Any, root_v: Any, *, b1: float = 0.9, b2: float = 0.98) -> np.ndarray:
    """The update whose corrected moments are these: the state before and a gradient of m make them."""
    m, root_v = np.asarray(m, np.float64), np.asarray(root_v, np.float64)
    before = (np.square(root_v) - (1 - b2) * np.square(m)) / b2
    assert np.all(before >= 0)
    f32 = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    state = optax.ScaleByAdamState(count=jnp.asarray(LATE, jnp.int32), mu=f32(m), nu=f32(before))
    return np.asarray(transformation.update(f32(m), state)[0], np.float64)


def test_a_step_whose_moments_agree_is_the_learning_rate() -> None:
    """At the first step m = sqrt v; decays whose bias correction is exact in binary leave nothing to round."""
    params = jnp.zeros(7)
    gradient = jnp.asarray([3.0, -3.0, 1.0, 0.7, -1e-12, 1e12, 1e-17])
    chain = optimizer(b1=0.5, b2=0.75)
    updates, _ = chain.update(gradient, initial_state(params, chain).optimizer_state, params)
    np.testing.assert_array_equal(np.asarray(updates), -RATE * np.sign(gradient))
    chain = optimizer()
    updates, _ = chain.update(gradient, initial_state(params, chain).optimizer_state, params)
    np.testing.assert_allclose(np.asarray(updates), -RATE * np.sign(gradient), rtol=1e-6)


def test_no_step_is_longer_than_two_learning_rates() -> None:
    ratio = np.concatenate([-np.logspace(-6, 0.84, 200), np.logspace(-6, 0.84, 200)])  # at most sqrt(1 / (1 - b2))
    steps = step_with(scale_by_adam_atan2(), ratio, np.ones_like(ratio))
    np.testing.assert_allclose(steps, 4 / math.pi * np.arctan(ratio), rtol=2e-6)
    assert np.abs(steps).max() <= 2.0
    # a second moment that has vanished beside the first: the longest step, and no longer
    state = optax.ScaleByAdamState(count=jnp.asarray(LATE, jnp.int32), mu=jnp.ones(1), nu=jnp.zeros(1))
    longest, _ = scale_by_adam_atan2().update(jnp.zeros(1), state)
    assert float(longest[0]) == 2.0
    assert float(scale_by_adam_atan2(a=1.0).update(jnp.zeros(1), state)[0][0]) == pytest.approx(math.pi / 2, rel=1e-6)


def test_the_slope_at_zero_is_a_over_b() -> None:
    small = 1e-4
    assert step_with(scale_by_adam_atan2(), small, 1.0) / small == pytest.approx(1.27324, abs=5e-6)
    assert step_with(scale_by_adam_atan2(a=1.0, b=4.0), small, 1.0) / small == pytest.approx(0.25, rel=1e-5)


def test_without_a_gradient_nothing_moves() -> None:
    params = jnp.full((3,), 5.0)
    chain = optimizer()
    updates, _ = chain.update(jnp.zeros(3), initial_state(params, chain).optimizer_state, params)
    np.testing.assert_array_equal(np.asarray(updates), 0.0)


@pytest.mark.parametrize("power", [-40, -20, -3, 1, 5, 30])
def test_gradients_times_a_power_of_two_give_the_same_bits(power: int) -> None:
    chain = optimizer()
    params = jnp.zeros((40, 50))
    draws = [jax.random.normal(jax.random.key(step), params.shape) for step in range(5)]
    found = []
    for factor in (1.0, 2.0**power):
        state, updates = chain.init(params), params
        update = jax.jit(chain.update)
        for gradient in draws:
            updates, state = update(gradient * factor, state, params)
        found.append(np.asarray(updates))
    assert found[0].tobytes() == found[1].tobytes()
    assert np.unique(found[0]).size > 1000


def test_adams_epsilon_eats_small_gradients_and_atan2_does_not() -> None:
    """Measured numbers of the facts: m = 0.3 s and sqrt(v) = s, epsilon 1e-8."""
    scales = np.array([1.0, 1e-8, 1e-10, 1e-12])
    adam = step_with(optax.scale_by_adam(0.9, 0.98, 1e-8), 0.3 * scales, scales)
    np.testing.assert_allclose(adam, [0.3, 0.15, 0.00297, 3e-5], rtol=2e-3)
    turned = step_with(scale_by_adam_atan2(), 0.3 * scales, scales)
    np.testing.assert_allclose(turned, 4 / math.pi * math.atan(0.3), rtol=1e-6)


def test_the_constants_are_the_configs() -> None:
    config = {"atan2_a": 1.0, "atan2_b": 2.0}
    chain = optimizer(**config)
    params = jnp.zeros(1)
    updates, _ = chain.update(jnp.ones(1), chain.init(params), params)
    assert float(updates[0]) == pytest.approx(-RATE * math.atan(0.5), rel=1e-6)
