"""The perceptron's first values and first step, against width: T4 and T5 of `shared/facts/parameterization.md`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.parameterization import PARAMETERIZATIONS, exponents
from models.parameterization.mlp import MLP, MLPConfig, layer_names, mlp_roles, parameterized_mlp
from models.parameterization.roles import roles_of
from models.parameterization.scaling import ParameterizationConfig
from shammie.errors import UserError

WIDTHS = (64, 256, 1024)
SEEDS = 4


def _rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x)))))


def _outputs(weights: Any, x_BI: np.ndarray) -> dict[str, np.ndarray]:
    """What each layer puts out, before its activation; by hand, in NumPy."""
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    z1 = x_BI @ w["embedding"]
    z2 = np.tanh(z1) @ w["hidden_0"]
    return {"embedding": z1, "hidden_0": z2, "readout": np.tanh(z2) @ w["readout"]}


def _gradient(weights: Any, x_BI: np.ndarray, labels_B: np.ndarray) -> dict[str, np.ndarray]:
    """Of the mean cross entropy."""
    z = _outputs(weights, x_BI)
    h1, h2 = np.tanh(z["embedding"]), np.tanh(z["hidden_0"])
    shares = np.exp(z["readout"]) / np.exp(z["readout"]).sum(axis=1, keepdims=True)
    d3 = (shares - np.eye(shares.shape[1])[labels_B]) / len(x_BI)
    d2 = (d3 @ weights["readout"].T) * (1 - h2**2)
    d1 = (d2 @ weights["hidden_0"].T) * (1 - h1**2)
    return {"embedding": x_BI.T @ d1, "hidden_0": h1.T @ d2, "readout": h2.T @ d3}


@functools.cache
def _drawn(width: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """First weights by fan-in, inputs and labels."""
    draw = np.random.default_rng(seed)
    shapes = {"embedding": (16, width), "hidden_0": (width, width), "readout": (width, 10)}
    weights = {layer: draw.normal(size=shape) * shape[0] ** -0.5 for layer, shape in shapes.items()}
    return weights, draw.normal(size=(8, 16)), draw.integers(0, 10, 8)


@functools.cache
def _slopes(name: str, optimizer: str, alignment: str) -> dict[str, float]:
    """Slopes of log RMS against log width: of each layer's first outputs, and of their change where it alone moved.

    Adam's first step is the gradient's sign. All but the numbers of `Scales` is NumPy by hand, in float64.
    """
    sizes: dict[str, list[float]] = {}
    for width in WIDTHS:
        config = MLPConfig(inputs=16, width=width, layers=3, outputs=10)
        scales = parameterized_mlp(config, ParameterizationConfig(name, optimizer, alignment)).scales
        logs: dict[str, list[float]] = {}
        for seed in range(SEEDS):
            standard, x_BI, labels_B = _drawn(width, seed)
            weights = {layer: w * scales.init[layer] * scales.multiplier[layer] for layer, w in standard.items()}
            first, gradient = _outputs(weights, x_BI), _gradient(weights, x_BI, labels_B)
            for layer, before in first.items():
                slope = gradient[layer] * scales.multiplier[layer]
                step = -0.01 * scales.learning_rate[layer] * (np.sign(slope) if optimizer == "adam" else slope)
                moved = weights[layer] + scales.multiplier[layer] * step
                after = _outputs({**weights, layer: moved}, x_BI)[layer]
                logs.setdefault("gradient " + layer, []).append(np.log(_rms(slope)))
                logs.setdefault(layer, []).append(np.log(_rms(before)))
                logs.setdefault("d " + layer, []).append(np.log(_rms(after - before)))
        for key, values in logs.items():
            sizes.setdefault(key, []).append(float(np.mean(values)))
    return {key: float(np.polyfit(np.log(WIDTHS), values, 1)[0]) for key, values in sizes.items()}


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_first_values_and_the_first_step_do_not_depend_on_the_width(name: str) -> None:
    """T4: logits shrink as n^-1/2 under muP and mean-field alone; T5 under full alignment, tolerance 0.1."""
    for optimizer in ("adam", "sgd"):
        found = _slopes(name, optimizer, "full")
        assert found["embedding"] == pytest.approx(0, abs=0.1)
        assert found["hidden_0"] == pytest.approx(0, abs=0.1)
        assert found["readout"] == pytest.approx(-0.5 if name in ("mup", "mean_field") else 0.0, abs=0.1)
        for layer in ("embedding", "hidden_0", "readout"):
            assert found["d " + layer] == pytest.approx(0, abs=0.1), (optimizer, layer)
            expected = exponents(name, optimizer)[layer.removesuffix("_0")].gradient
            assert found["gradient " + layer] == pytest.approx(-float(expected), abs=0.1), (optimizer, layer)


@pytest.mark.parametrize(("name", "optimizer", "readout"), [
    ("standard", "adam", 0.5), ("mup", "adam", 0.5), ("standard", "sgd", 0.5), ("mup", "sgd", 0.0)])  # fmt: skip
def test_rates_for_no_alignment_fail_at_the_first_step_which_is_aligned(
    name: str, optimizer: str, readout: float
) -> None:
    """As they should: +0.45 and +0.43 measured for Adam, .44 and .42 for SGD; SGD keeps muP's readout at r = 1/2."""
    found = _slopes(name, optimizer, "none")
    assert found["d embedding"] == pytest.approx(0, abs=0.1)
    assert found["d hidden_0"] == pytest.approx(0.5, abs=0.1)
    assert found["d readout"] == pytest.approx(readout, abs=0.1)


def test_the_perceptron_is_its_layers() -> None:
    config = MLPConfig(inputs=16, width=32, layers=3, outputs=10)
    x = jax.random.normal(jax.random.key(1), (5, 16))
    variables: Any = MLP(config).init(jax.random.key(0), x)
    expected = _outputs(variables["params"], np.asarray(x))["readout"]
    np.testing.assert_allclose(np.asarray(MLP(config).apply(variables, x)), expected, atol=1e-5)
    assert _rms(variables["params"]["hidden_0"]) == pytest.approx(32**-0.5, rel=0.1)


def test_roles_are_those_that_shapes_tell() -> None:
    for layers in (2, 3, 5):
        small, large = (MLPConfig(width=width, layers=layers, outputs=2) for width in (8, 16))
        shapes: list[Any] = [
            jax.eval_shape(MLP(config).init, jax.random.key(0), jnp.zeros((1, 16))) for config in (small, large)
        ]
        assert roles_of(shapes[0]["params"], shapes[1]["params"]) == mlp_roles(small)
        assert set(layer_names(small)) == set(shapes[0]["params"])


def test_bad_sizes() -> None:
    with pytest.raises(UserError, match=r"MLPConfig.layers is 1; give at least 2"):
        MLPConfig(layers=1)
    with pytest.raises(UserError, match="unknown activation 'tahn'; did you mean tanh"):
        MLPConfig(activation="tahn")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="unknown dtype 'float16'"):
        MLPConfig(dtype="float16")  # pyright: ignore[reportArgumentType]
