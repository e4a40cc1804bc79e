"""The optimizers against google/learned_optimization at commit 32186aa, on a recorded stream of gradients and losses.

data/reference.npz has only numbers: the stream, what the reference made of it (jax 0.10.2, dm-haiku 0.0.17), and
sha256 of each theta, whose numbers are drawn again here. BUILD_NOTES describes the script. The stream has tensors of
rank 0 to 4, square ones and pairs of one shape, a spike of gradients, one beyond the limit of 1000, two spikes of the
loss, and goes on for 8 steps after the 16 that the optimizers are told.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers.interface import LearnedOptimizer, Theta
from models.learned_optimizers.loss_features import decays_of, initial_losses, loss_features, next_losses
from models.learned_optimizers.mlp import mlp
from models.learned_optimizers.released import theta_from
from models.learned_optimizers.released_layouts import KINDS, STAR_AS_CLASS
from models.learned_optimizers.star import adafactor_mlp, star
from models.learned_optimizers.velo import VeloConfig, velo

SHAPES = [(), (1,), (5,), (5,), (7, 3), (3, 7), (7, 3), (4, 4), (6, 1), (2, 6, 4), (3, 3, 2, 5), (2, 2, 3, 3)]
NUM_STEPS = 16
SMALL: dict[str, Any] = {"lstm_size": 8, "bank_size": 6}


def _star(**changed: Any) -> LearnedOptimizer:
    return star(replace(STAR_AS_CLASS, **changed))


CASES: dict[str, Callable[[], LearnedOptimizer]] = {
    "velo": velo,
    "velo_small": lambda: velo(VeloConfig(**SMALL)),
    "velo_bugged_loss": lambda: velo(VeloConfig(**SMALL, bugged_loss_features=True)),
    "velo_bugged_state": lambda: velo(VeloConfig(**SMALL, bugged_lstm_state=True)),
    "star_class": _star,
    "star_full": lambda: _star(
        nominal_stepsize=1e-3, weight_decay=1e-2, nominal_controller=True, regularization_controller=True,
        precondition=True,
    ),
    "star_fixed": lambda: _star(nominal_stepsize=1e-2, weight_decay=1e-2, nominal="Adam"),
    "star_sgd": lambda: _star(nominal_stepsize=1e-2, nominal="SGD", scale_by_mean_gradient=True),
    "star_sgdm": lambda: _star(
        nominal_stepsize=1e-2, nominal="SGDM", nominal_controller=True, aggregate_magnitude=True
    ),
    "star_aggmo": lambda: _star(
        nominal_stepsize=1e-2, weight_decay=1e-2, nominal="AggMo", nominal_controller=True,
        regularization_controller=True, aggregate_nominal=True,
    ),
    "adafactor_mlp": adafactor_mlp,
    "mlp": mlp,
}  # fmt: skip
FEW = [
    0,
    2,
    4,
    7,
    10,
]  # the tensors of the cases that are run each time: a compiled program for each shape takes a while


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "data" / "reference.npz") as data:
        return dict(data)


def _named(tree: Any, prefix: str = "") -> list[tuple[str, np.ndarray]]:
    """Arrays of a released layout with their paths as JAX names them there; the LSTM's state is a named tuple."""
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    name = ".{}" if prefix == "['lstm_init_state']" else "['{}']"
    return [found for key, inner in tree.items() for found in _named(inner, prefix + name.format(key))]


def _drawn(optimizer: LearnedOptimizer) -> tuple[Theta, str]:
    """Theta as the reference had it: each array drawn in the order of its path, normal over the root of its inputs."""
    shapes = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    theirs = KINDS[optimizer.name].to_theirs(zeros, optimizer.config)
    rng, digest = np.random.default_rng(11), hashlib.sha256()
    for name, array in sorted(_named(theirs), key=lambda found: found[0]):
        shape = tuple(array.shape)
        inputs = shape[-2:-1] or (1,)
        scale = inputs[0] ** -0.5 if inputs[0] > 1 else 0.1
        if "decays" in name:
            scale = 0.02
        if "rnn_to_controls" in name:
            scale *= 0.03 * shape[-1] ** 0.5
        array[...] = (rng.standard_normal(shape) * scale).astype(np.float32)
        digest.update(array.tobytes())
    return theta_from(optimizer, theirs), digest.hexdigest()


def _tensors(flat: np.ndarray) -> list[jax.Array]:
    ends = np.cumsum([math.prod(shape) for shape in SHAPES])[:-1]
    return [jnp.asarray(x.reshape(shape)) for x, shape in zip(np.split(flat, ends), SHAPES, strict=True)]


def _follows(optimizer: LearnedOptimizer, name: str, recorded: dict[str, np.ndarray], places: list[int]) -> None:
    """Runs the optimizer on the recorded stream's tensors at these places, next to what the reference made of them."""
    theta, digest = _drawn(optimizer)
    assert digest == recorded[f"theta_of_{name}"].tobytes().hex(), "numpy draws other numbers"
    transformation = optimizer.optax(theta, NUM_STEPS)

    @jax.jit
    def step(params: Any, state: Any, grads: Any, loss: jax.Array) -> Any:
        updates, state = transformation.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    params = _some(recorded["params"], places)
    state, before = transformation.init(params), _flat(params)
    assert len(recorded["grads"]) >= 20
    stored = recorded[f"params_of_{name}"]
    for grads, loss, wanted in zip(recorded["grads"], recorded["losses"], stored, strict=True):
        params, state = step(params, state, _some(grads, places), loss)
        found, wanted = _flat(params), wanted if wanted.size == before.size else _flat(_some(wanted, places))
        # each parameter to float32's rounding, and the step to what that makes of it
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
        assert np.linalg.norm(found - wanted) < 3e-3 * np.linalg.norm(wanted - before)
        before = wanted


def _some(flat: np.ndarray, places: list[int]) -> list[jax.Array]:
    return [_tensors(flat)[i] for i in places]


def _flat(tensors: list[jax.Array]) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in tensors])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_follows_the_reference(name: str, recorded: dict[str, np.ndarray]) -> None:
    _follows(CASES[name](), name, recorded, list(range(len(SHAPES))))


def test_follows_the_reference_on_a_few_tensors(recorded: dict[str, np.ndarray]) -> None:
    """VeLO's tensors see each other, so the reference was run on these alone; STAR's and the MLP's do not."""
    _follows(velo(), "velo_few", recorded, FEW)
    _follows(CASES["star_full"](), "star_full", recorded, [0, 4, 10])
    _follows(mlp(), "mlp", recorded, FEW)


def test_loss_features_follow_the_reference(recorded: dict[str, np.ndarray]) -> None:
    """200 losses of a run of 1000 steps, one of them a million, one below 0."""

    @jax.jit
    def run(losses: jax.Array) -> jax.Array:
        decays = decays_of(1000)

        def step(state: Any, now: Any) -> Any:
            state = next_losses(state, now[0], now[1], decays)
            return state, loss_features(state, now[1] + 1, decays)

        return jax.lax.scan(step, initial_losses(), (losses, jnp.arange(len(losses))))[1]

    # the longest averages are differences of nearly equal numbers at first, which float32 has to three digits
    np.testing.assert_allclose(run(recorded["losses_1000"]), recorded["loss_features_1000"], atol=5e-3)
    assert np.abs(recorded["loss_features_1000"][2:]).max() > 0.5
