"""The notebook's random numbers: its first losses, and nothing left behind in JAX's settings."""

import jax
import numpy as np
import pytest

from models.trainability.notebook import draw
from models.trainability.pixels import pixel_values
from models.trainability.problem import problem_of

# measured with the notebook's own functions at PRNGKey(0): width, condition, partitionable False, True
FIRST_LOSSES = [
    (8, "tanh", 0.982139662264, 0.891591535160),
    (8, "relu", 1.030140836462, 0.890683767365),
    (8, "identity", 0.464797086660, 0.477731997646),
    (8, "tanh_single", 0.097640526897, 0.105047213157),
    (16, "tanh", 1.087245143290, 0.910593453160),
    (16, "relu", 1.104009909846, 0.911253794318),
    (16, "identity", 0.362413080576, 0.845537311445),
    (16, "tanh_single", 0.317058572254, 0.231227618955),
]


@pytest.mark.parametrize(("width", "condition", "then", "now"), FIRST_LOSSES)
def test_first_losses(width, condition, then, now):
    for partitionable, expected in ((False, then), (True, now)):
        problem = problem_of(condition, width=width, steps=1, partitionable=partitionable)
        loss = pixel_values(problem, np.ones(1), np.ones(1)).final_loss[0]
        assert loss == pytest.approx(expected, abs=1e-9)


def test_settings_are_as_before():
    before = jax.random.normal(jax.random.PRNGKey(3), (5, 5))
    drawn = [draw(5, 30, steps=2, batch_size=16, partitionable=partitionable) for partitionable in (False, True)]
    after = jax.random.normal(jax.random.PRNGKey(3), (5, 5))
    assert {one.weights.dtype for one in drawn} == {np.dtype(np.float64)}
    assert (drawn[0].weights != drawn[1].weights).any()
    assert after.dtype == np.float32
    assert (before == after).all()


def test_batches_are_with_replacement_and_the_same_for_every_seed_zero():
    one, other = (draw(5, 30, steps=120, batch_size=16, seed=seed) for seed in (0, 1))
    assert one.batches.shape == (120, 16)
    assert (one.batches.min(), one.batches.max()) == (0, 29)
    assert any(len(set(batch)) < 16 for batch in one.batches.tolist())
    assert (one.batches != other.batches).any()
    assert (one.weights != other.weights).all()
    # the keys of the batches are PRNGKey(42)'s: written out here once more
    with jax.enable_x64(True), jax.threefry_partitionable(True):
        keys = jax.random.split(jax.random.PRNGKey(42), 120)
        assert one.batches[7].tolist() == jax.random.randint(keys[7], (16,), 0, 30).tolist()
