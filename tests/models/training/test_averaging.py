"""The average of the parameters: a recursion by hand, nothing changed where it is off, and its place in the state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.training import OptimizerConfig, average, averaged, initial_state, optimizer_of, train_step
from shammie.configs import plain
from shammie.errors import UserError

PARAMS = {"a": jnp.array([1.0, -2.0, 0.5]), "b": {"c": jnp.full((2, 2), 3.0)}}


def loss_function(params, batch):
    loss = jnp.stack([jnp.sum((leaf - batch.mean()) ** 2) for leaf in jax.tree.leaves(params)]).sum() / 7
    return loss, {"loss": average(loss, 1.0)}


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_it_is_the_recursion_over_the_steps_parameters(name, microbatches: int) -> None:
    config = {"name": name, "learning_rate": 0.1, "warmup_steps": 1, "factors": "constant"}
    with_, without = (optimizer_of(OptimizerConfig(**config, average=decay), 30) for decay in (0.6, 0.0))
    step, plain_step = (jax.jit(train_step(loss_function, one, microbatches=microbatches)) for one in (with_, without))
    state, other = initial_state(PARAMS, with_), initial_state(PARAMS, without)
    expected = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    for number in range(30):
        batch = jnp.arange(4.0) * number % 7
        state, metrics = step(state, batch)
        other, plain_metrics = plain_step(other, batch)
        keep = min(0.6, (1 + number) / (10 + number))
        expected = jax.tree.map(lambda old, new: keep * old + (1 - keep) * np.asarray(new), expected, state.params)  # noqa: B023
        assert float(metrics["loss"].compute()) == float(plain_metrics["loss"].compute())
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(a, b)  # training does not see it
    found = averaged(state.optimizer_state, state.params)
    for a, b, now in zip(*map(jax.tree.leaves, (found, expected, state.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
        assert np.abs(np.asarray(a) - np.asarray(now)).max() > 1e-4
    assert averaged(other.optimizer_state, other.params) is other.params


def test_off_it_leaves_no_trace() -> None:
    """Old configs keep their identity, old checkpoints their tree."""
    assert "average" not in plain(OptimizerConfig())
    assert plain(OptimizerConfig(average=0.5))["average"] == 0.5
    tree = jax.tree.structure(optimizer_of(OptimizerConfig(), 10).init(PARAMS))
    assert "AverageState" not in str(tree)
    assert "AverageState" in str(jax.tree.structure(optimizer_of(OptimizerConfig(average=0.5), 10).init(PARAMS)))


def test_a_learned_optimizer_is_told_the_loss_through_it() -> None:
    optimizer = optimizer_of(OptimizerConfig("star", average=0.9), 10)
    state, _ = jax.jit(train_step(loss_function, optimizer))(initial_state(PARAMS, optimizer), jnp.ones(4))
    assert np.isfinite(averaged(state.optimizer_state, state.params)["a"]).all()


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_what_is_no_decay_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=r"OptimizerConfig.average is .*; give 0 or a number below 1"):
        OptimizerConfig(average=decay)
