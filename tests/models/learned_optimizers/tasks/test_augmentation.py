"""Augmentations of tasks, each against what it says exactly, on a task whose gradients are known."""

import functools
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from models.learned_optimizers.tasks import (
    NO_AUGMENTATION,
    TASKS,
    Augmentation,
    AugmentationConfig,
    Task,
    augmented,
    begin,
    choose,
    in_bfloat16,
    loss_and_gradient,
    reparametrized,
    task_named,
    with_reduced_batch,
)
from models.learned_optimizers.tasks.gradients import EXACT, delayed, evolution, in_subspace, unit_length
from shammie.errors import UserError

KEY = jax.random.key(3)
SIZE = 8  # parameters: a matrix of 2 x 3, a vector and a scalar
FIRST = {"matrix": jnp.arange(1.0, 7.0).reshape(2, 3) / 7, "scalar": jnp.asarray(0.3), "vector": jnp.asarray([0.7])}


def _loss(world: Any, params: Any, batch: Any) -> jax.Array:
    """The mean over examples of (x . w)^3, float32 []."""
    del world
    flat = ravel_pytree(params)[0]
    return jnp.mean((batch["x"] @ flat) ** 3) + 0 * jnp.sum(batch["label"])


def _batch(world: Any, key: Any) -> Any:
    del world, key
    return {"x": jnp.linspace(0.5, 1.5, 10 * SIZE).reshape(10, SIZE), "label": jnp.arange(10)}


def quickly(function: Any) -> Any:
    """The function compiled without optimisation, which costs a third of the time and runs briefly all the same."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


CUBIC = Task("cubic", lambda key: (), lambda world, key: FIRST, _batch, _loss, 1.0, 10)


def _first_loss(task: Task, key: Any = KEY) -> tuple[jax.Array, Any, Any]:
    return _compiled(task)(key)


@functools.cache
def _compiled(task: Task) -> Any:
    return quickly(lambda key: loss_and_gradient(task, begin(task, key), key))


@pytest.mark.parametrize("level", ["global", "tensor", "parameter"])
def test_reparametrised_weights_leave_the_first_loss_as_it_is(level: Any) -> None:
    first, gradient, _ = _first_loss(CUBIC)
    powers_of_two, scaled_gradient, training = _first_loss(reparametrized(CUBIC, level, (4.0, 4.0)))
    assert powers_of_two == first  # to the last bit where w / s has no rounding
    assert jax.tree.all(jax.tree.map(lambda g, s: bool(jnp.all(g == 4 * s)), scaled_gradient, gradient))

    any_scale, scaled_gradient, training = _first_loss(reparametrized(CUBIC, level, (1e-3, 1e3)))
    assert float(any_scale) == pytest.approx(float(first), rel=1e-6)
    scales = training.world[1]
    for name, first in FIRST.items():
        s = np.broadcast_to(scales[name], first.shape)
        assert np.all((s > 1e-3) & (s < 1e3))
        np.testing.assert_allclose(training.params[name] * s, first, rtol=1e-6)
        np.testing.assert_allclose(scaled_gradient[name], gradient[name] * s, rtol=1e-5)
    different = len({float(s) for leaf in jax.tree.leaves(scales) for s in np.ravel(leaf)})
    assert different == {"global": 1, "tensor": 3, "parameter": SIZE}[level]


@pytest.mark.parametrize("steps", [1, 3])
def test_delayed_gradients_are_late_by_exactly_so_many_steps(steps: int) -> None:
    task = replace(CUBIC, loss=lambda world, params, batch: jnp.sum(params["vector"]) ** 2 / 2)
    task = replace(task, gradients=delayed(EXACT, steps))

    def step(training: Any, number: jax.Array) -> Any:
        at_step = {**training.params, "vector": number[None].astype(jnp.float32)}
        loss, gradient, training = loss_and_gradient(task, training._replace(params=at_step), KEY)
        return training, (loss, gradient["vector"][0])

    start = begin(task, KEY)
    _, (losses, found) = quickly(lambda s: jax.lax.scan(step, s, jnp.arange(10, 19)))(start)
    expected = [0.7] * steps + list(range(10, 19 - steps))  # the gradient is the parameter itself
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(losses, np.square(expected) / 2, rtol=1e-6)


def _projections(directions: int, keys: jax.Array) -> np.ndarray:
    """The matrix that gradients are multiplied by, for each key: what comes of each unit vector; [keys, n, n]."""
    rule = in_subspace(EXACT, directions)

    def project(unit: jax.Array, key: Any) -> jax.Array:
        back = ravel_pytree(FIRST)[1]
        gradient = rule.estimate(lambda p: jnp.sum(ravel_pytree(p)[0] * unit), back(unit), (), (), key)[1]
        return ravel_pytree(gradient)[0]

    return np.asarray(quickly(jax.vmap(jax.vmap(project, (0, None)), (None, 0)))(jnp.eye(SIZE), keys))


def test_a_random_subspace_is_a_projection_of_its_rank() -> None:
    found = _projections(3, jax.random.split(KEY, 4000))
    np.testing.assert_allclose(found, np.swapaxes(found, 1, 2), atol=1e-6)
    np.testing.assert_allclose(found @ found, found, atol=1e-6)
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2), 3, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1
    error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - 3 / SIZE * np.eye(SIZE)) < 5 * error + 1e-6)
    np.testing.assert_array_equal(_projections(SIZE, KEY[None])[0], np.eye(SIZE))


def test_signs_in_a_subspace_forget_the_gradients_length() -> None:
    rule = in_subspace(EXACT, 3, sign=True)

    def at_scale(scale: jax.Array) -> Any:
        return rule.estimate(lambda p: scale * _loss((), p, _batch((), None)), FIRST, (), (), KEY)[1]

    one, large = (ravel_pytree(tree)[0] for tree in map(quickly(at_scale), (jnp.float32(1), jnp.float32(1024))))
    np.testing.assert_array_equal(one, large)
    assert float(jnp.sum(one**2)) == pytest.approx(3, rel=1e-5)


@pytest.mark.parametrize("pairs", [1, 4])
def test_evolution_is_unbiased_on_a_linear_loss(pairs: int) -> None:
    slope = np.linspace(-1.0, 2.0, SIZE).astype(np.float32)
    rule = evolution(pairs, (0.5, 0.5))

    def estimate(key: Any) -> jax.Array:
        found = rule.estimate(lambda p: ravel_pytree(p)[0] @ slope, FIRST, rule.draw(key), (), key)
        return ravel_pytree(found[1])[0]

    samples = np.asarray(quickly(jax.vmap(estimate))(jax.random.split(KEY, 20000)), np.float64)
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - slope) < 4 * error)
    variance = (SIZE + 1) * np.sum(slope**2) / pairs  # the trace of the covariance: (d + 1) |g|^2 / pairs
    assert samples.var(axis=0).sum() == pytest.approx(variance, rel=0.05)


def test_evolution_draws_one_standard_deviation_for_a_training() -> None:
    rule = evolution(2, (1e-3, 0.1))
    drawn = np.log10(np.asarray(quickly(jax.vmap(rule.draw))(jax.random.split(KEY, 2000))))
    assert drawn.min() >= -3
    assert drawn.max() <= -1
    assert drawn.mean() == pytest.approx(-2, abs=4 * 2 / math.sqrt(12 * 2000))


def test_unit_length() -> None:
    gradient = _first_loss(replace(CUBIC, gradients=unit_length(EXACT)))[1]
    plain = _first_loss(CUBIC)[1]
    norm = float(jnp.linalg.norm(ravel_pytree(plain)[0]))
    assert norm > 2
    np.testing.assert_allclose(ravel_pytree(gradient)[0], ravel_pytree(plain)[0] / norm, rtol=1e-6)
    flat = replace(CUBIC, loss=lambda world, params, batch: jnp.float32(1), gradients=unit_length(EXACT))
    assert not np.any(ravel_pytree(_first_loss(flat)[1])[0])


@pytest.mark.parametrize(("share", "left"), [(0.01, 1), (0.5, 5), (0.99, 9), (1.0, 10)])
def test_reduced_batch(share: float, left: int) -> None:
    task = with_reduced_batch(CUBIC, share)
    whole, part = _batch((), KEY), task.batch((), KEY)
    assert task.batch_size == left
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][:left])


def test_bfloat16() -> None:
    task = in_bfloat16(CUBIC)
    loss, gradient, training = _first_loss(task)
    assert {leaf.dtype for leaf in jax.tree.leaves((training.params, gradient))} == {jnp.dtype(jnp.bfloat16)}
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(float(_first_loss(CUBIC)[0]), rel=0.05)
    batch = task.batch((), KEY)
    assert batch["x"].dtype == jnp.bfloat16
    assert batch["label"].dtype == _batch((), KEY)["label"].dtype


def test_all_augmentations_together_keep_structure_and_dtypes() -> None:
    everything = Augmentation("parameter", (0.1, 10.0), 2, (1e-2, 1e-2), 0.5, True, True, 4, False, 2)
    task = augmented(CUBIC, everything)
    assert task is augmented(CUBIC, everything)
    assert task.name == "cubic+scaled_by_parameter+batch_5+bfloat16+evolution_2+unit_length+subspace_4+delayed_2"
    loss, gradient, training = _first_loss(task)
    assert np.isfinite(loss)
    assert jax.tree.map(lambda g: (g.shape, g.dtype), gradient) == jax.tree.map(
        lambda p: (p.shape, p.dtype), training.params
    )
    length = float(jnp.linalg.norm(ravel_pytree(gradient)[0].astype(jnp.float32)))
    assert 0 < length < 1  # of length 1 before it was projected
    assert _first_loss(task)[0] == loss
    np.testing.assert_array_equal(_first_loss(task)[1]["matrix"], gradient["matrix"])
    assert np.any(np.asarray(_first_loss(task, jax.random.key(4))[1]["matrix"] != gradient["matrix"]))
    assert augmented(CUBIC, Augmentation()) == CUBIC


@pytest.mark.parametrize("name", TASKS)
def test_every_task_takes_every_augmentation(name: str) -> None:
    everything = Augmentation("tensor", (0.1, 10.0), 2, (1e-2, 1e-2), 0.1, True, True, 4, True, 2)
    task = augmented(task_named(name), everything)

    def step(key: Any) -> Any:
        training = begin(task, key)
        return training.params, loss_and_gradient(task, training, key)

    params, (loss, gradient, after) = jax.eval_shape(step, KEY)
    assert gradient == after.params == params
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert (loss.shape, loss.dtype) == ((), jnp.float32)


def test_choices_have_their_probabilities_and_do_not_move_each_other() -> None:
    count = 400
    keys = jax.random.split(KEY, count)
    config = AugmentationConfig()
    chosen = [choose(config, key) for key in keys]
    shares = {
        "evolution": (0.08, [a.evolution_pairs > 0 for a in chosen]),
        "batch": (0.2, [a.batch_share < 1 for a in chosen]),
        "bfloat16": (0.2, [a.bfloat16 for a in chosen]),
        "normalized": (0.05, [a.normalized_gradient for a in chosen]),
        "subspace": (0.08, [a.subspace_directions > 0 for a in chosen]),
        "delayed": (0.05, [a.delay_steps > 0 for a in chosen]),
        "none": (2 / 7, [a.scale_level == "none" for a in chosen]),
        "parameter": (1 / 7, [a.scale_level == "parameter" for a in chosen]),
    }
    for name, (probability, happened) in shares.items():
        assert np.mean(happened) == pytest.approx(probability, abs=4 * math.sqrt(probability / count)), name
    assert {a.evolution_pairs for a in chosen} == {0, 1, 2, 4, 8, 16}
    assert {a.scale_range for a in chosen} == {(1.0, 1.0), *config.scale_ranges}
    assert all(0.01 <= a.batch_share <= 1 and 0 <= a.subspace_directions <= 1024 for a in chosen)
    assert {a.delay_steps for a in chosen} > {0, 1, 2}
    assert max(a.delay_steps for a in chosen) <= 8

    delayed_too = replace(config, delayed_gradient=1.0)
    for key, before in list(zip(keys, chosen, strict=True))[:20]:
        after = choose(delayed_too, key)
        assert after.delay_steps >= 1
        assert replace(after, delay_steps=before.delay_steps) == before
        assert choose(config, key) == before
        assert choose(NO_AUGMENTATION, key) == Augmentation()


@pytest.mark.parametrize(
    "bad",
    [
        {"bfloat16": 1.5},
        {"scale_levels": ("layer",)},
        {"scale_levels": ()},
        {"scale_ranges": ((1.0, 0.1),)},
        {"batch_share": (0.5, 2.0)},
        {"delay_steps": (0, 8)},
    ],
)
def test_bad_augmentations_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        AugmentationConfig(**bad)
    assert str(next(iter(bad.values()))).strip("(),'").split(",")[0].strip("'") in str(caught.value)


def test_bad_rules_are_named() -> None:
    for make in (lambda: delayed(EXACT, 0), lambda: in_subspace(EXACT, 0), lambda: evolution(0, (0.1, 0.1))):
        with pytest.raises(UserError, match=": 0; give at least 1"):
            make()
    with pytest.raises(UserError, match=r"\(0\.1, 0\.01\)"):
        evolution(1, (0.1, 0.01))
