"""The benchmark's tasks, optimizers and trainings."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

from models.learned_optimizers.suite import BASELINES, SUITE_TASKS, baseline, kinship, suite_task
from models.learned_optimizers.suite_training import SUITE_KEY, points_of, train
from models.learned_optimizers.tasks import NoisyQuadraticConfig, begin, loss_and_gradient
from shammie.errors import UserError

RATES = np.array([0.01, 0.1, 0.01], np.float32)


def test_every_task_is_made_and_is_a_task_of_its_own() -> None:
    tasks = {name: suite_task(name) for name in SUITE_TASKS}
    shapes = [
        str(jax.eval_shape(lambda key, task=task: begin(task, key).params, jax.random.key(0)))
        for task in tasks.values()
    ]
    assert len(tasks) == len(set(shapes)) == 12
    assert {one.family for one in SUITE_TASKS.values()} == {
        "image_mlp", "image_conv", "autoencoder", "noisy_quadratic", "rnn_lm", "transformer_lm",
    }  # fmt: skip


def test_a_curve_has_the_losses_before_each_step_of_a_plain_loop() -> None:
    task, steps, every = suite_task("quadratic"), 12, 4
    found = train(task, baseline("adam"), [0, 0, 1], RATES, steps=steps, every=every)
    key = jax.random.fold_in(jax.random.key(SUITE_KEY), 1)
    begin_key, step_key = jax.random.split(key)
    training, optimizer = begin(task, begin_key), optax.adam(0.01)
    state, losses = optimizer.init(training.params), []
    for number in range(steps):
        loss, gradient, training = loss_and_gradient(task, training, jax.random.fold_in(step_key, number))
        updates, state = optimizer.update(gradient, state)
        training = training._replace(params=optax.apply_updates(training.params, updates))
        losses.append(float(loss))
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found[2], np.mean(np.reshape(losses, (3, every)), axis=1), rtol=2e-5)
    assert found[0, 0] != found[1, 0]  # the learning rate
    assert abs(found[0, 0] / found[2, 0] - 1) > 1e-3  # the world


def by_loss(rate: Any) -> optax.GradientTransformationExtraArgs:
    """Moves every parameter down by the rate times the loss that it is told."""

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        del params
        return jax.tree.map(lambda g: jax.numpy.full_like(g, -rate * extra["value"]), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def test_learned_optimizers_are_told_the_loss() -> None:
    task, steps = suite_task("quadratic"), 6
    found = train(task, by_loss, [0, 1, 1], RATES, steps=steps, every=1)[2]
    begin_key, step_key = jax.random.split(jax.random.fold_in(jax.random.key(SUITE_KEY), 1))
    training, losses = begin(task, begin_key), []
    for number in range(steps):
        loss, _, training = loss_and_gradient(task, training, jax.random.fold_in(step_key, number))
        params = jax.tree.map(lambda x, loss=loss: x - 0.01 * loss, training.params)
        training = training._replace(params=params)
        losses.append(float(loss))
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert abs(losses[-1] / losses[0] - 1) > 1e-3


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_trains(name: str) -> None:
    rates = np.array([0.003, 0.03], np.float32)
    found = train(suite_task("quadratic"), baseline(name), [0, 0], rates, steps=60, every=10)
    assert np.isfinite(found).all()
    assert found[:, -1].min() < 0.8 * found[0, 0]
    assert found[0, -1] != found[1, -1]


def test_names_that_are_not_there() -> None:
    with pytest.raises(UserError, match="unknown task 'autoencode'; did you mean autoencoder"):
        suite_task("autoencode")
    with pytest.raises(UserError, match="unknown optimizer 'nadam'; did you mean nadamw"):
        baseline("nadam")
    with pytest.raises(UserError, match="7 steps with a point each 2"):
        points_of(7, 2)


def test_kinship_is_by_family_and_size() -> None:
    own = [("noisy_quadratic", None), ("image_conv", {"widths": [3]})]
    assert kinship("quadratic", own) == "trained on"
    assert kinship("quadratic_large", own) == "other size"
    assert kinship("conv", own) == "other size"
    assert kinship("mlp", own) == "other family"
    assert kinship("mlp", None) == "unknown"
    large = SUITE_TASKS["quadratic_large"].config
    assert kinship("quadratic_large", [("noisy_quadratic", large)]) == "trained on"
    as_json = {"rows": 16, "columns": 8, "condition": [1e3, 1e4], "noise": 0.3, "start": 0.1, "batch_size": 8}
    assert kinship("quadratic_large", [("noisy_quadratic", as_json)]) == "trained on"
    assert large == NoisyQuadraticConfig(rows=16, columns=8, condition=(1e3, 1e4))
