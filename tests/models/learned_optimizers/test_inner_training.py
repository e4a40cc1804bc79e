"""Trainings as unrolled computations, against loops written out; mixtures and means of estimates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.evolution import EvolutionConfig, Unrolled, losses, nres
from models.evolution.estimator import Estimator
from models.learned_optimizers.inner_training import InnerConfig, inner_training
from models.learned_optimizers.mlp import MLPConfig, mlp
from models.learned_optimizers.task_mixture import mixture, repeated
from models.learned_optimizers.tasks import NoisyQuadraticConfig, begin, loss_and_gradient, noisy_quadratic, normalized
from shammie.errors import UserError

OPTIMIZER = mlp(MLPConfig(hidden_size=3, hidden_layers=1, step_mult=0.1))
TASK = noisy_quadratic(NoisyQuadraticConfig(rows=2, columns=2, batch_size=2))
STEPS = 6


def _theta() -> Any:
    return OPTIMIZER.init_theta(jax.random.key(5))


def _by_hand(key: jax.Array) -> np.ndarray:
    """The losses of one episode, as `losses` draws its random numbers; float [STEPS]."""
    init_key, step_key = jax.random.split(key)
    training = begin(TASK, init_key)
    rule = OPTIMIZER.optax(_theta(), STEPS)
    state, found = rule.init(training.params), []
    for number in range(STEPS):
        train_key, _ = jax.random.split(jax.random.fold_in(step_key, number))
        loss, gradient, training = loss_and_gradient(TASK, training, train_key)
        updates, state = rule.update(gradient, state, training.params, value=loss)
        training = training._replace(params=optax.apply_updates(training.params, updates))
        found.append(float(normalized(TASK, loss)))
    return np.array(found)


def test_losses_are_those_of_the_training_written_out() -> None:
    ours = losses(inner_training(OPTIMIZER, TASK, STEPS), _theta(), jax.random.key(1))
    wanted = _by_hand(jax.random.key(1))
    np.testing.assert_allclose(ours, wanted, rtol=1e-4)
    assert wanted.std() > 1e-3  # the optimizer moves


def test_the_last_loss_is_the_mean_of_what_the_objective_gives() -> None:
    last = InnerConfig(objective="last")
    ours = losses(inner_training(OPTIMIZER, TASK, STEPS, last), _theta(), jax.random.key(1))
    np.testing.assert_array_equal(ours[:-1], 0)
    np.testing.assert_allclose(float(jnp.mean(ours)), _by_hand(jax.random.key(1))[-1], rtol=1e-4)


def test_a_drawn_length_decides_which_step_is_the_last() -> None:
    problem = inner_training(OPTIMIZER, TASK, STEPS, InnerConfig(objective="last"), drawn=True)
    state, found = problem.begin(_theta(), jax.random.key(0), 3), []
    for number in range(3):
        state, loss = problem.step(_theta(), state, jnp.int32(number), jax.random.key(number))
        found.append(float(loss))
    assert found[:2] == [0, 0]
    assert 0 < found[2] / 3 <= 1.5


def test_held_out_losses_are_of_other_batches_after_the_step() -> None:
    """With many batches they vary less, and about a mean that training losses have too."""
    held = InnerConfig(measured="held_out", batches=256)
    problems = inner_training(OPTIMIZER, TASK, 1), inner_training(OPTIMIZER, TASK, 1, held)
    still = jax.tree.map(jnp.zeros_like, _theta())
    training, held_out = (
        jax.vmap(lambda n, one=one: losses(one, still, jax.random.fold_in(jax.random.key(3), n))[0])(jnp.arange(64))
        for one in problems
    )
    # the same worlds and the same parameters, which an optimizer of zeros does not move
    assert 0.8 < np.corrcoef(training, held_out)[0, 1] < 0.9999
    np.testing.assert_allclose(held_out.mean(), training.mean(), rtol=0.1)


def test_a_training_that_diverges_costs_the_cap() -> None:
    theta = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), _theta())
    found = losses(inner_training(OPTIMIZER, TASK, STEPS), theta, jax.random.key(1))
    np.testing.assert_array_equal(found[1:], 1.5)


def _nres(steps: int) -> Estimator:
    """An estimator that compiles fast: what is put together is not looked at here."""
    problem = Unrolled(
        lambda theta, key: jax.random.normal(key, (3,)),
        lambda theta, x, number, key: (x - theta["a"] * x * theta["b"], jnp.sum(jnp.square(x * theta["b"]))),
        steps,
    )
    return nres(problem, EvolutionConfig(particles=2, window=2, burn_in=0))


def test_a_mixture_is_the_mean_of_its_members() -> None:
    members = [_nres(2), _nres(4)]
    both, key, theta = mixture(members), jax.random.key(7), {"a": jnp.full((), 0.1), "b": jnp.ones(3)}
    gradient, workers, info = both.gradient(theta, both.init(theta, key), key)
    alone = [
        one.gradient(theta, one.init(theta, jax.random.fold_in(key, number)), jax.random.fold_in(key, number))
        for number, one in enumerate(members)
    ]
    for name in theta:
        np.testing.assert_allclose(gradient[name], (alone[0][0][name] + alone[1][0][name]) / 2, rtol=1e-5, atol=1e-6)
    assert float(optax.tree.norm(gradient)) > 0
    assert int(info.environment_steps) == 2 * 2 * 2 * 2
    np.testing.assert_allclose(info.loss, (alone[0][2].loss + alone[1][2].loss) / 2, rtol=1e-6)
    np.testing.assert_array_equal(workers[1].step, alone[1][1].step)
    assert mixture(members[:1]) is members[0]
    with pytest.raises(UserError, match="no tasks"):
        mixture([])


def test_repeated_estimates_are_averaged_and_go_on() -> None:
    one, key, theta = _nres(4), jax.random.key(7), {"a": jnp.full((), 0.1), "b": jnp.ones(3)}
    three = repeated(one, 3)
    gradient, workers, info = three.gradient(theta, three.init(theta, key), key)
    state, found = one.init(theta, key), []
    for number in range(3):
        part, state, _ = one.gradient(theta, state, jax.random.fold_in(key, number))
        found.append(part)
    mean = jax.tree.map(lambda *parts: sum(parts) / 3, *found)
    for name in theta:
        np.testing.assert_allclose(gradient[name], mean[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(workers.step, state.step)
    assert int(info.environment_steps) == 3 * 2 * 2 * 2
    assert repeated(one, 1) is one
    with pytest.raises(UserError, match="0 estimates"):
        repeated(one, 0)


@pytest.mark.parametrize(
    ("bad", "text"),
    [({"measured": "test"}, "measured"), ({"objective": "lst"}, "last"), ({"batches": 0}, "batches is 0")],
)
def test_bad_settings(bad: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        InnerConfig(**bad)
