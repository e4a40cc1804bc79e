"""Standard is NTK and muP is mean-field, bit for bit, through the code that trains: first values, gradients, Optax.

The gradient is compiled and the optimizer runs operation by operation. In a step that is compiled whole, XLA draws
multipliers into the optimizer's arithmetic, and whether a sum of products is rounded once or twice (fused multiply-add)
then depends on which multipliers are 1: there pairs agree to 1e-9, the tolerance of section 8, and no closer.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.parameterization.mlp import MLPConfig, parameterized_mlp
from models.parameterization.parameterized import Parameterized
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig, optimizer_of

PAIRS = [("standard", "ntk"), ("mup", "mean_field")]
WIDTH, STEPS = 64, 30
FACTORIES: dict[str, Any] = {
    "the trainer's sgd": lambda p, eps: _trainers(p, "sgd", eps, 0.05),
    "the trainer's adam": lambda p, eps: _trainers(p, "adam", eps, 0.02),
    "the trainer's adam_atan2": lambda p, eps: _trainers(p, "adam_atan2", eps, 0.02),
    "sgd": lambda p, eps: p.optimizer(optax.sgd, 0.05),
    "adam": lambda p, eps: p.optimizer(optax.adam, 0.02, eps=eps),
    "adafactor": lambda p, eps: p.optimizer(optax.adafactor, 0.02, eps=eps, min_dim_size_to_factor=32),
}


def _trainers(p: Parameterized, name: Any, eps: float, rate: float) -> optax.GradientTransformation:
    """The bundled trainer's optimizer; decoupled weight decay goes by each parameter's own rate, and breaks pairs."""
    config = OptimizerConfig(name, rate, "constant", eps=eps, weight_decay=0.0, clip_norm=0.0)
    return optimizer_of(config, STEPS, p.scales)


@functools.cache
def _losses(
    name: str,
    optimizer: str,
    alignment: str = "full",
    *,
    eps: float = 0.0,
    scaling: Any = "constant",
    whole: bool = False,
) -> np.ndarray:
    """The losses of 30 steps, in float64, and the logits that come after."""
    config = ParameterizationConfig(name, optimizer.split()[-1], alignment, epsilon=scaling)
    p = parameterized_mlp(MLPConfig(inputs=8, width=WIDTH, layers=4, outputs=3, dtype="float64"), config)
    x = jax.random.normal(jax.random.key(1), (16, 8), jnp.float64)
    y = jax.random.normal(jax.random.key(2), (16, 3), jnp.float64)
    params: Any = p.init(jax.random.key(0), x)
    gradient_of = jax.jit(jax.value_and_grad(lambda v: jnp.mean((p.apply(v, x) - y) ** 2)))
    made = FACTORIES[optimizer](p, eps)

    def step(params: Any, state: Any) -> tuple[Any, Any, jax.Array]:
        loss, gradient = gradient_of(params)
        updates, state = made.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    step = jax.jit(step) if whole else step
    state, losses = made.init(params), []
    for _ in range(STEPS):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
    assert np.all(np.isfinite(losses))
    assert losses[-1] != losses[0]
    return np.array([*losses, *np.asarray(p.apply(params, x)).ravel()])


@pytest.fixture(autouse=True)
def _float64() -> Any:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("optimizer", "alignment"),
    [(name, "full") for name in FACTORIES if name != "adafactor"] + [("sgd", "none"), ("adam", "none")],
)
@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_agree_bit_for_bit(pair: tuple[str, str], optimizer: str, alignment: str) -> None:
    left, right = (_losses(name, optimizer, alignment) for name in pair)
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor"])
@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_agree_in_a_step_compiled_whole(pair: tuple[str, str], optimizer: str) -> None:
    """Adafactor's floors, of gradients and of weights' sizes, do not bind here."""
    left, right = (_losses(name, optimizer, whole=True) for name in pair)
    np.testing.assert_allclose(left, right, rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_two_pairs_are_two_networks(optimizer: str) -> None:
    left, right = (_losses(name, optimizer, whole=True) for name in ("standard", "mup"))
    assert np.max(np.abs(left - right)) > 1e-3


@pytest.mark.parametrize("pair", PAIRS)
def test_a_constant_epsilon_breaks_them(pair: tuple[str, str]) -> None:
    left, right = (_losses(name, "adam", eps=1e-4, whole=True)[:STEPS] for name in pair)
    assert 1e-3 < np.max(np.abs(left / right - 1)) < 0.5


@pytest.mark.parametrize("pair", PAIRS)
def test_an_epsilon_per_layer_mends_them(pair: tuple[str, str]) -> None:
    left, right = (_losses(name, "adam", eps=1e-4, scaling="per_layer") for name in pair)
    np.testing.assert_array_equal(left, right)
