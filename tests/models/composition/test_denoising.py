"""Batches made from draws, the loss on them, classifiers on the same, and a short training that learns."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from models.composition.algebra import likelihood
from models.composition.classifier import log_probability
from models.composition.denoising import (
    denoising_loss,
    drawn_batch,
    held_out_rows,
    level_weights,
    noised_batch,
    rows_of,
)
from models.composition.diffusion import density_of, energy, first_variables, noise_of, output
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.training import OptimizerConfig, averaged, initial_state, optimizer_of, scan_steps, train_step
from shammie.errors import UserError
from tests.models.composition.toys import SCHEDULE, UNET, params_of, quick

CONFIG = DiffusionConfig(
    shape=(2,), width=16, blocks=1, level_width=8, schedule=SCHEDULE, condition=ConditionConfig("classes", 2, width=8)
)


def draw(key: jax.Array, resident: Any, held_out: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A point at (1, 0) or (-1, 0), a little off, and which."""
    which, off = jax.random.split(key)
    label = jax.random.randint(which, (), 0, 2)
    x = jnp.array([1.0, 0.0]) * (2 * label - 1) + 0.1 * jax.random.normal(off, (2,))
    return jnp.where(held_out, 10.0 + x, x), label


@quick
def batch_of(rows_B2: jax.Array) -> Any:
    return drawn_batch(SCHEDULE, draw, (), rows_B2, untold=0.3)


def test_a_batch_is_a_function_of_its_rows() -> None:
    rows = rows_of(3, 0, 4000)
    assert rows.dtype == np.int32
    assert rows[0].tolist() == [3, 0]
    batch = batch_of(rows)
    half = batch_of(rows[1000:1400])
    for whole, part in zip(jax.tree.leaves(batch), jax.tree.leaves(half), strict=True):
        np.testing.assert_array_equal(whole[1000:1400], part)
    other = batch_of(rows_of(4, 0, 400))
    assert not np.isclose(other.noise_BX, batch.noise_BX[:400]).any(axis=1).any()
    # levels are all as likely, noise is standard normal, and conditions are left out as often as asked
    counts_T = np.bincount(batch.level_B, minlength=10)
    assert np.abs(counts_T - 400).max() < 5 * np.sqrt(400)
    assert abs(float(batch.noise_BX.mean())) < 5 / np.sqrt(8000)
    assert abs(float(batch.noise_BX.var()) - 1) < 5 * np.sqrt(2 / 8000)
    assert abs(float(batch.present_B.mean()) - 0.7) < 5 * np.sqrt(0.21 / 4000)
    # and none of these goes by another
    drawn = [batch.level_B, batch.condition, batch.present_B, *np.asarray(batch.noise_BX).T]
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 5 / np.sqrt(4000)
    # x is the point and its noise at the level: q(x_t | x_0)
    signal_B = np.sqrt(SCHEDULE.alpha_bars_T)[np.asarray(batch.level_B)]
    noise_B = np.sqrt(SCHEDULE.noise_variances_T)[np.asarray(batch.level_B)]
    x_BX = (np.asarray(batch.x_BX) - noise_B[:, None] * np.asarray(batch.noise_BX)) / signal_B[:, None]
    keep_B = signal_B > 0.3
    label_B = np.asarray(batch.condition)
    np.testing.assert_allclose(x_BX[keep_B & (label_B == 1)].mean(axis=0), [1, 0], atol=0.02)
    np.testing.assert_allclose(x_BX[keep_B & (label_B == 0)].std(axis=0), [0.1, 0.1], rtol=0.1)


def test_held_out_draws_are_none_of_any_seeds() -> None:
    rows = held_out_rows(6, 2)
    assert (rows[:, 1] == [-3, -4, -5, -6, -7, -8]).all()
    np.testing.assert_array_equal(rows[2:], held_out_rows(4, 4))
    batch = batch_of(held_out_rows(200))
    noise_BX = SCHEDULE.noise(batch.level_B)[:, None] * batch.noise_BX
    mean = (batch.x_BX - noise_BX) / SCHEDULE.signal(batch.level_B)[:, None]
    assert float(jnp.median(mean[:, 1])) == pytest.approx(10, abs=0.1)  # the source is told that it is held out
    assert not np.isclose(batch_of(rows_of(0, 0, 200)).noise_BX, batch.noise_BX).any(axis=1).any()


@pytest.mark.parametrize("form", ["score", "dae"])
def test_the_loss_is_the_mean_squared_error_of_the_noise(form: Any) -> None:
    config = dataclasses.replace(CONFIG, form=form)
    params = params_of(config)
    batch = batch_of(rows_of(0, 0, 6))
    loss, metrics = denoising_loss(config)(params, batch)
    eps_BX = noise_of(config, params, batch.x_BX, batch.level_B, batch.condition, batch.present_B)
    expected = np.mean((np.asarray(eps_BX) - np.asarray(batch.noise_BX)) ** 2)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["loss"].compute()) == pytest.approx(expected, rel=1e-5)


def test_levels_count_by_their_noise_where_weighted() -> None:
    config = dataclasses.replace(CONFIG, form="score", weighting=2.0)
    noise_T = 1.0 - SCHEDULE.alpha_bars_T
    weights_T = level_weights(config)
    np.testing.assert_allclose(weights_T, noise_T**2 / np.mean(noise_T**2))
    params, batch = params_of(config), batch_of(rows_of(0, 0, 64))
    told = (batch.x_BX, batch.level_B, batch.condition, batch.present_B)
    errors_B = np.mean((noise_of(config, params, *told) - batch.noise_BX) ** 2, axis=1)
    loss, metrics = denoising_loss(config)(params, batch)
    weighted = np.mean(np.asarray(errors_B) * weights_T[np.asarray(batch.level_B)])
    assert float(loss) == pytest.approx(float(weighted), rel=1e-5)
    assert float(metrics["loss"].compute()) == pytest.approx(
        float(np.mean(errors_B)), rel=1e-5
    )  # comparable whatever the weights
    with pytest.raises(UserError, match="weighting is -1"):
        dataclasses.replace(CONFIG, weighting=-1.0)
    with pytest.raises(UserError, match="0 for a classifier"):
        dataclasses.replace(CONFIG, form="classifier", weighting=1.0)


def test_untold_conditions_train_the_null_alone() -> None:
    batch = batch_of(rows_of(0, 0, 6))
    loss = lambda params, present_B: denoising_loss(CONFIG)(params, batch._replace(present_B=present_B))[0]  # noqa: E731
    slope = quick(jax.grad(loss))
    gradient = lambda told: slope(params_of(CONFIG), jnp.full(6, told))["condition"]  # noqa: E731

    for told in (True, False):
        found = gradient(told)
        assert bool(np.any(found["nothing"])) == (not told)
        assert bool(np.any(found["class_table"]["table"])) == told


@pytest.mark.parametrize("form", ["dae", "classifier"])
def test_a_short_training_learns(form: Any) -> None:
    config = dataclasses.replace(CONFIG, form=form)
    optimizer = optimizer_of(OptimizerConfig("adam", 3e-3, "constant", average=0.97, weight_decay=0.0), 300)
    step = scan_steps(train_step(denoising_loss(config), optimizer))

    @quick
    def train(key: jax.Array, batches: Any) -> Any:
        state = initial_state(first_variables(config, key)["params"], optimizer)
        return step(state, batches)

    batches = jax.tree.map(lambda x: x.reshape(300, 64, *x.shape[1:]), batch_of(rows_of(0, 0, 300 * 64)))
    state, metrics = train(jax.random.key(1), batches)
    losses = np.asarray(jax.vmap(lambda one: one.compute())(metrics["loss"]))
    assert losses[-50:].mean() < 0.75 * losses[:10].mean()
    params = averaged(state.optimizer_state, state.params)
    if form == "classifier":
        at = quick(lambda x: log_probability(config, params, jnp.array([x, 0.0]) * SCHEDULE.signal(3), 3, 1))
        told = [float(at(1.0)), float(at(-1.0))]
        assert told[0] > np.log(0.9)
        assert told[1] < np.log(0.1)
        return
    # told a class, points are led to its place; untold, both places are as good
    at = quick(lambda x, told: density_of(config, params, told).score(jnp.array([x, 0.0]) * SCHEDULE.signal(5), 5)[0])
    for place, other in ((1.0, 0), (-1.0, 1)):
        led = float(at(place, other)) * -place
        assert led > 1.0
        assert abs(float(at(place, None))) < 0.5 * led
        assert abs(float(at(place, 1 - other))) < 0.5 * led


def test_a_classifier_is_a_softmax_and_guides() -> None:
    config = dataclasses.replace(CONFIG, form="classifier")
    params = params_of(config)
    batch = batch_of(rows_of(0, 0, 6))
    logits_BC = np.asarray(output(config, params, batch.x_BX, batch.level_B), np.float64)
    assert logits_BC.shape == (6, 2)
    expected_BC = log_softmax(logits_BC, axis=1)
    loss, metrics = denoising_loss(config)(params, batch)
    label_B = np.asarray(batch.condition)
    assert float(loss) == pytest.approx(-expected_BC[np.arange(6), label_B].mean(), rel=1e-5)
    assert float(metrics["accuracy"].compute()) == pytest.approx(np.mean(logits_BC.argmax(axis=1) == label_B))
    x, level = batch.x_BX[0], batch.level_B[0]
    wanted = quick(lambda x, label: log_probability(config, params, x, level, label))
    slope = quick(jax.grad(lambda x: log_probability(config, params, x, level, 1)))
    np.testing.assert_allclose([wanted(x, 0), wanted(x, 1)], expected_BC[0], rtol=1e-4)
    model = density_of(CONFIG, params_of(CONFIG))
    guide = likelihood(lambda x, level: log_probability(config, params, x, level, 1), (2,), SCHEDULE)
    both = quick(lambda x: ((model * guide**4.0).score(x, level), model.score(x, level)))
    guided, free = both(x)
    np.testing.assert_allclose(guided, free + 4.0 * slope(x), rtol=1e-4)
    for ask, words in (
        (lambda: noise_of(config, params, batch.x_BX, batch.level_B), "a classifier predicts no noise"),
        (lambda: density_of(config, params), "a classifier is no density"),
        (lambda: energy(config, params, batch.x_BX, batch.level_B), "a model of the form 'classifier' has no energy"),
    ):
        with pytest.raises(UserError, match=words):
            ask()


def test_a_unet_classifies_too() -> None:
    config = dataclasses.replace(UNET, form="classifier", condition=ConditionConfig("classes", 3))
    batch = noised_batch(SCHEDULE, jnp.ones((2, *UNET.shape)), jnp.array([0, 2]), jax.random.split(jax.random.key(0)))
    assert bool(batch.present_B.all())
    loss = quick(lambda params: denoising_loss(config)(params, batch)[0])
    assert float(loss(first_variables(config, jax.random.key(0))["params"])) == pytest.approx(np.log(3))  # undecided
    assert float(loss(params_of(config))) != pytest.approx(np.log(3), rel=1e-3)
