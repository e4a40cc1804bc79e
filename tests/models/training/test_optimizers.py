"""Schedules as T5X defines them, and optimizers that obey them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.training import OptimizerConfig, depends_on_length, initial_state, optimizer_of, schedule_of
from shammie.errors import UserError


def _rates(config: OptimizerConfig, steps: int, at: list[int]) -> list[float]:
    schedule = schedule_of(config, steps)
    return [float(np.asarray(schedule(jnp.asarray(step)))) for step in at]


def test_every_factor_is_t5xs_formula() -> None:
    """t5x.utils.create_learning_rate_scheduler at commit cc342d4, by hand."""
    at = [0, 5, 10, 40, 90]
    common = {"learning_rate": 0.5, "warmup_steps": 10}
    assert _rates(OptimizerConfig(**common, factors="constant"), 100, at) == pytest.approx([0.5] * 5)
    warm = _rates(OptimizerConfig(**common, factors="constant * linear_warmup"), 100, at)
    assert warm == pytest.approx([1e-8, 0.25, 0.5, 0.5, 0.5])
    rsqrt = _rates(OptimizerConfig(**common, factors="constant * rsqrt_decay"), 100, at)
    assert rsqrt == pytest.approx([0.5 / math.sqrt(max(step, 10)) for step in at])
    normal = _rates(OptimizerConfig(**common, factors="constant*rsqrt_normalized_decay"), 100, at)
    assert normal == pytest.approx([0.5 / math.sqrt(max(step / 10, 1)) for step in at])
    every = OptimizerConfig(**common, factors="constant * decay_every", steps_per_decay=40, decay_factor=0.1)
    assert _rates(every, 100, at) == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.005])
    linear = OptimizerConfig(**common, factors="linear_decay", decay_factor=0.02)
    assert _rates(linear, 100, at) == pytest.approx([1e-8, 0.25, 0.5, 0.5 * (1 - 0.6), 1e-8])
    cosine = OptimizerConfig(**common, factors="constant * cosine_decay", steps_per_cycle=80)
    assert _rates(cosine, 100, at) == pytest.approx(
        [0.5, 0.5, 0.5, 0.25 * (1 + math.cos(math.pi * 30 / 80)), 0.5], abs=1e-7
    )


def test_a_cosine_without_a_cycle_ends_with_the_run() -> None:
    rates = _rates(OptimizerConfig(learning_rate=1.0, warmup_steps=10), 100, list(range(100)))
    assert max(rates) == pytest.approx(1.0)
    assert rates[:10] == pytest.approx([1e-8, *np.arange(1, 10) / 10])
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)), rel=1e-3)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_optimizers_move_by_their_schedule(name: str) -> None:
    config = OptimizerConfig(name, learning_rate=0.1, factors="constant * linear_warmup", warmup_steps=4,  # pyright: ignore[reportArgumentType]
                             weight_decay=0.0)  # fmt: skip
    optimizer = optimizer_of(config, 100)
    params = jnp.ones((3,))
    state = initial_state(params, optimizer).optimizer_state
    moved = []
    for _ in range(6):
        updates, state = optimizer.update(jnp.ones((3,)), state, params)
        moved.append(-float(np.asarray(updates)[0]))
    # where all gradients are alike, Adam moves by the rate, and Adafactor by the rate times the parameters' size, 1
    np.testing.assert_allclose(moved, [0.0, 0.025, 0.05, 0.075, 0.1, 0.1], rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_weight_decay_is_times_the_learning_rate(name: str) -> None:
    for rate in (0.1, 0.001):
        config = OptimizerConfig(name, learning_rate=rate, factors="constant", weight_decay=0.5)  # pyright: ignore[reportArgumentType]
        optimizer = optimizer_of(config, 100)
        params = jnp.full((3,), 2.0)
        updates, _ = optimizer.update(jnp.zeros((3,)), optimizer.init(params), params)
        np.testing.assert_allclose(np.asarray(updates), -rate * 0.5 * 2.0, rtol=1e-5)


def test_only_a_fitted_cosine_depends_on_the_runs_length() -> None:
    assert depends_on_length(OptimizerConfig())
    assert not depends_on_length(OptimizerConfig(steps_per_cycle=1000))
    assert not depends_on_length(OptimizerConfig(factors="constant * linear_warmup * rsqrt_decay"))


def test_long_gradients_are_shortened() -> None:
    for clip, expected in ((1.0, 1.0), (0.0, 5.0)):
        chain = optimizer_of(OptimizerConfig(clip_norm=clip), 10)
        plain = optimizer_of(OptimizerConfig(clip_norm=0.0), 10)
        params = jnp.zeros(2)
        gradient = jnp.array([3.0, 4.0])
        got, _ = chain.update(gradient, chain.init(params), params)
        want, _ = plain.update(gradient * expected / 5.0, plain.init(params), params)
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-6)


def test_adafactor_factors_the_second_moments_of_matrices() -> None:
    optimizer = optimizer_of(OptimizerConfig("adafactor"), 10)
    shapes = {leaf.shape for leaf in jax.tree.leaves(optimizer.init(jnp.zeros((256, 512))))}
    assert {(256,), (512,)} <= shapes
    assert (256, 512) not in shapes


def test_unknown_names_are_one_line_with_the_cure() -> None:
    with pytest.raises(UserError, match=r"unknown optimizer 'adan'; (there are|did you mean)"):
        OptimizerConfig("adan")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"unknown learning rate factor 'cosine'.*cosine_decay"):
        OptimizerConfig(factors="constant * cosine")
    with pytest.raises(UserError, match=r"learning_rate is -1\.0; give a number above 0"):
        OptimizerConfig(learning_rate=-1.0)
