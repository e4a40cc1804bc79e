"""The swimmer of the optional extra: what is told where MJX is missing, and its motion where it is there."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.evolution import physics
from models.evolution.physics import PhysicsConfig
from shammie.errors import UserError


@pytest.fixture(autouse=True)
def _forget() -> None:
    physics._loaded.cache_clear()


def test_a_missing_library_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"needs 'mujoco', which is not installed; pip install 'shammie\[physics\]'"):
        physics.physics()
    with pytest.raises(UserError, match="needs 'mujoco'"):
        physics.first_policy(PhysicsConfig(), jax.random.key(0))


@pytest.mark.slow
def test_a_swimmer_swims() -> None:
    pytest.importorskip("mujoco.mjx")
    config = PhysicsConfig(horizon=20)
    problem, policy = physics.physics(config), physics.first_policy(config, jax.random.key(0))
    assert policy["weights"].shape == (2, 8)
    state = problem.init(policy, jax.random.key(1))
    pushed = {"weights": jnp.zeros((2, 8)).at[0, 0].set(50.0)}
    with jax.numpy_rank_promotion("allow"):  # MJX promotes
        after, loss = jax.jit(problem.step)(pushed, state, jnp.int32(0), jax.random.key(2))
    moved = float(after.positions[0] - state.positions[0]) / 0.04
    assert float(loss) == pytest.approx(-moved + 1e-4 * min(1.0, abs(50 * float(state.positions[2]))) ** 2, abs=1e-4)
    assert np.isfinite(after.speeds).all()


@pytest.mark.slow
def test_a_model_that_is_none_is_told() -> None:
    pytest.importorskip("mujoco.mjx")
    with pytest.raises(UserError, match="the model of problem physics"):
        physics.physics(PhysicsConfig(model="<mujoco><nothing/></mujoco>"))
