"""VeLO and STAR in the trainer's step: what they are told, and what is refused."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers import theta_files
from models.learned_optimizers.loss_features import decays_of, initial_losses, next_losses
from models.training import (
    Metrics,
    OptimizerConfig,
    average,
    depends_on_length,
    exponents_name,
    initial_state,
    optimizer_of,
    schedule_of,
    train_step,
)
from shammie.errors import UserError

STEPS = 8
SIZES = {"velo": {"lstm_size": 8, "bank_size": 4}, "star": {}}
START = {"kernel": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "bias": jnp.zeros(3)}


@pytest.fixture(params=SIZES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> OptimizerConfig:
    return config_of(request.param, tmp_path)


def config_of(name: Any, folder: Path) -> OptimizerConfig:
    optimizer = theta_files.learned_optimizer(name, **SIZES[name])
    theta_files.save(str(folder / "theta"), optimizer, optimizer.init_theta(jax.random.key(3)))
    return OptimizerConfig(name, weights=str(folder / "theta"))


def squares(offset: float) -> Any:
    def loss_function(params: Any, batch: jax.Array) -> tuple[jax.Array, Metrics]:
        loss = jnp.mean((batch @ params["kernel"] + params["bias"][None] - 1.0) ** 2)
        return loss, {"loss": average(loss + offset * jnp.mean(batch), 1.0)}

    return loss_function


def trained(config: OptimizerConfig, offset: float, microbatches: int = 1) -> Any:
    """The state after some steps whose gradients do not depend on the offset, only the losses that are told."""
    optimizer = optimizer_of(config, STEPS)
    step = jax.jit(train_step(squares(offset), optimizer, microbatches=microbatches))
    state = initial_state(START, optimizer)
    for batch in jax.random.uniform(jax.random.key(0), (5, 4, 2)):
        state, _ = step(state, batch)
    return state


def test_only_velo_heeds_the_loss(config: OptimizerConfig) -> None:
    plain, raised = (trained(config, offset) for offset in (0.0, 100.0))
    change = np.max(np.abs(raised.params["kernel"] - plain.params["kernel"]))
    moved = np.max(np.abs(plain.params["kernel"] - START["kernel"]))
    assert moved > 0
    assert (change > 0) == (config.name == "velo")


@pytest.mark.parametrize("microbatches", [1, 2])
def test_velo_averages_the_losses_of_whole_batches(microbatches: int, tmp_path: Path) -> None:
    state = trained(config_of("velo", tmp_path), 1e6, microbatches)
    means = jax.random.uniform(jax.random.key(0), (5, 4, 2)).mean((1, 2))
    expected = initial_losses()
    for count, mean in enumerate(means):
        expected = next_losses(expected, 1e6 * mean, jnp.int32(count), decays_of(STEPS))
    np.testing.assert_allclose(state.optimizer_state.memory.losses.means, expected.means, rtol=1e-4)


def test_a_learned_optimizer_takes_its_steps_alone(config: OptimizerConfig) -> None:
    assert depends_on_length(config) == (config.name == "velo")
    rate: Any = schedule_of(config, STEPS)(jnp.int32(3))
    assert rate == 1.0
    optimizer = optimizer_of(config, STEPS)
    found = theta_files.load(str(config.weights))
    bare = found.optimizer.optax(found.theta, STEPS)
    gradient = jax.tree.map(lambda x: 1e3 * jnp.ones_like(x), START)  # which clipping would shorten
    told = optax.with_extra_args_support(optimizer).update(gradient, optimizer.init(START), START, value=1.0)[0]
    expected = bare.update(gradient, bare.init(START), START, value=1.0)[0]
    jax.tree.map(np.testing.assert_array_equal, told, expected)


def test_what_does_not_fit_is_told(config: OptimizerConfig) -> None:
    with pytest.raises(UserError, match="no learning rate to scale with the width"):
        exponents_name(config)
    with pytest.raises(UserError, match="'adam' is not learned"):
        OptimizerConfig("adam", weights="theta")
    with pytest.raises(UserError, match="VeLO needs weights"):
        optimizer_of(OptimizerConfig("velo"), STEPS)
    other = "star" if config.name == "velo" else "velo"
    with pytest.raises(UserError, match=f"has weights of {config.name}"):
        optimizer_of(OptimizerConfig(other, weights=config.weights), STEPS)
