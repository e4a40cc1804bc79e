"""STAR and its baselines: counts, the nominal step by its formula, and what the network adds to it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers.interface import LearnedOptimizer, count_of
from models.learned_optimizers.mlp import mlp
from models.learned_optimizers.released_layouts import STAR_AS_CLASS
from models.learned_optimizers.star import StarConfig, adafactor_mlp, learned_decays, star, time_features
from shammie.errors import UserError


def _updates(optimizer: LearnedOptimizer, theta: Any, grads: Any, params: Any) -> list[Any]:
    transformation = optimizer.optax(theta, 100)
    state, found = transformation.init(params), []
    for g in grads:
        updates, state = transformation.update(g, state, params)
        params = optax.apply_updates(params, updates)
        found.append(updates)
    return found


def test_counts_are_the_reference_s() -> None:
    for optimizer, count in ((star(), 207), (adafactor_mlp(), 197), (mlp(), 1762)):
        assert count_of(jax.eval_shape(optimizer.init_theta, jax.random.key(0))) == count
    params = {"a": jnp.zeros((784, 128)), "b": jnp.zeros(128), "c": jnp.zeros((128, 10)), "d": jnp.zeros(10)}
    for optimizer, floats in ((star(), 4.04), (adafactor_mlp(), 4.04), (mlp(), 6.0)):
        state = optimizer.optax(optimizer.init_theta(jax.random.key(0)), 10).init(params)
        assert count_of(state) / count_of(params) == pytest.approx(floats, abs=0.005)


def test_the_nominal_step_alone_is_its_formula() -> None:
    """star.md, test 4: without the network a_nom * exp(1e-3) * mean_k(m_k / sqrt(rms + 1e-6)); 1.171e-3 at first."""
    optimizer = star(replace(STAR_AS_CLASS, nominal_stepsize=1e-3, step_mult=0.0))
    grads = [jax.random.normal(jax.random.key(i), (6,)) + 2 for i in range(6)]
    found = _updates(optimizer, optimizer.init_theta(jax.random.key(9)), grads, jnp.ones((6,)))
    m, rms = np.zeros((3, 6)), np.zeros((6,))
    for g, update in zip(grads, found, strict=True):
        g, d = np.asarray(g, np.float64), np.array([0.9, 0.99, 0.999])[:, None]
        m, rms = d * m + (1 - d) * g, 0.999 * rms + 0.001 * g**2
        np.testing.assert_allclose(-update, 1e-3 * np.exp(1e-3) * (m / np.sqrt(rms + 1e-6)).mean(0), rtol=1e-3)
    first = _updates(optimizer, optimizer.init_theta(jax.random.key(9)), [jnp.full((6,), 5.0)], jnp.ones(6))[0]
    np.testing.assert_allclose(-first, 1.171e-3, rtol=1e-3)
    assert [float(x) for x in np.array([0.1, 0.01, 0.001]) / np.sqrt(0.001)] == pytest.approx(
        [3.16, 0.316, 0.0316], rel=1e-2
    )


def test_without_its_additions_it_is_the_adafactor_mlp() -> None:
    """star.md, test 4: the same first two outputs give the same steps."""
    theta = star().init_theta(jax.random.key(1))
    network = {**theta["network"], "w2": theta["network"]["w2"][:, :2], "b2": theta["network"]["b2"][:2]}
    grads = [{"w": jax.random.normal(jax.random.key(i), (6,)), "s": jnp.float32(i - 1)} for i in range(4)]
    params = {"w": jnp.ones((6,)), "s": jnp.float32(2)}
    a = _updates(star(STAR_AS_CLASS), theta, grads, params)
    b = _updates(adafactor_mlp(), {**theta, "network": network}, grads, params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-9), a, b)
    assert float(jnp.abs(a[0]["w"]).max()) > 1e-5


def test_decay_and_preconditioning() -> None:
    theta, p, g = star().init_theta(jax.random.key(1)), jnp.full((6,), 3.0), jnp.full((6,), 1e-4)
    plain = _updates(star(STAR_AS_CLASS), theta, [g], p)[0]
    decayed = _updates(star(replace(STAR_AS_CLASS, weight_decay=0.01)), theta, [g], p)[0]
    np.testing.assert_allclose(decayed - plain, -0.03, rtol=1e-4)
    preconditioned = _updates(star(replace(STAR_AS_CLASS, precondition=True)), theta, [g], p)[0]
    np.testing.assert_allclose(preconditioned, plain / np.sqrt(1e-3 * 1e-8 + 1e-6), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("whole", ["aggregate_magnitude", "aggregate_nominal", "aggregate_regularization"])
def test_aggregated_outputs_are_one_number_per_tensor(whole: str) -> None:
    """exp_mult makes the outputs matter; what is aggregated moves all parameters by one factor."""
    config = replace(STAR_AS_CLASS, exp_mult=1.0, nominal_controller=True, regularization_controller=True)
    parts: dict[str, dict[str, Any]] = {
        "aggregate_magnitude": {},
        "aggregate_nominal": {"nominal_stepsize": 1.0, "nominal": "SGD", "step_mult": 0.0},
        "aggregate_regularization": {"weight_decay": 0.1, "step_mult": 0.0},
    }
    config = replace(config, **parts[whole])
    theta = star().init_theta(jax.random.key(4))
    theta = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), theta)
    theta |= {name: jnp.zeros_like(theta[name]) for name in theta if name.endswith("decays")}
    g, p = jax.random.normal(jax.random.key(0), (6,)), jax.random.normal(jax.random.key(1), (6,)) + 3
    each = _updates(star(config), theta, [g], p)[0]
    together = _updates(star(replace(config, **{whole: True})), theta, [g], p)[0]
    assert float(jnp.abs(each - together).max()) > 1e-7
    if whole != "aggregate_magnitude":
        ratio = together / (g if whole == "aggregate_nominal" else p)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_decays_start_where_they_are_told() -> None:
    np.testing.assert_allclose(learned_decays((0.9, 0.99, 0.999), jnp.zeros(3)), [0.9, 0.99, 0.999], rtol=1e-6)
    np.testing.assert_allclose(learned_decays((0.9,), jnp.array([-0.1])), [1 - 0.1 / np.e], rtol=1e-6)
    np.testing.assert_allclose(time_features(jnp.asarray(30))[3], 0.0, atol=1e-7)
    assert time_features(jnp.asarray(0)).shape == (11,)


@pytest.mark.slow
def test_the_nominal_step_is_what_makes_random_weights_safe() -> None:
    """star.md, test 6, over 20 seeds: the nominal step lets the loss fall, the random network's steps do not."""
    h = jnp.linspace(0.1, 2.0, 16)

    def last(theta: Any, config: StarConfig) -> jax.Array:
        transformation = star(config).optax(theta, 200)

        def step(carry: Any, _: Any) -> Any:
            x, state = carry
            updates, state = transformation.update(h * x, state, x)
            return (x + updates, state), None

        x = jnp.ones(16)
        (x, _), _ = jax.lax.scan(step, (x, transformation.init(x)), None, length=200)
        return 0.5 * jnp.sum(h * x**2)

    thetas = jax.vmap(star().init_theta)(jax.random.split(jax.random.key(0), 20))
    start = 0.5 * float(jnp.sum(h))
    both = replace(STAR_AS_CLASS, nominal_stepsize=1e-2)
    ends = jax.jit(jax.vmap(lambda theta: last(theta, both)))(thetas)
    assert float(ends.max()) < 0.2 * start
    alone = np.asarray(jax.jit(jax.vmap(lambda theta: last(theta, STAR_AS_CLASS)))(thetas))
    assert float(np.median(alone)) > 0.8 * start


def test_an_unknown_nominal_direction_is_refused() -> None:
    with pytest.raises(UserError, match="'Adma'"):
        StarConfig(nominal="Adma")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="hidden_size is 0"):
        StarConfig(hidden_size=0)
