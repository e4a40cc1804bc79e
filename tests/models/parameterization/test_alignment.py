"""Log alignment ratios: of known matrices, and of each layer of a network against numpy by hand."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.parameterization.alignment import MEASURES, log_alignment_ratio, measure_alignment
from models.parameterization.mlp import MLPConfig, parameterized_mlp
from models.parameterization.products import products_of
from models.parameterization.scaling import ParameterizationConfig


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def measured(network: Any, params_0: Any, params_t: Any, *inputs: Any) -> Any:
    told = jax.jit(lambda *both: measure_alignment(network, *both, *inputs))(params_0, params_t)
    return jax.device_get(told)


def arrays_of(network: Any, params: Any, *inputs: Any) -> tuple[dict[str, int], Any, Any]:
    """What `products_of` finds, compiled: each product's fan_in, its kernel and x, and what `of` makes of these."""
    fans: dict[str, int] = {}

    def found(params: Any) -> tuple[Any, Any]:
        products = products_of(lambda params: network.apply({"params": params}, *inputs), params)
        fans.update({name: one.fan_in for name, one in products.items()})
        given = {name: (one.kernel, one.x) for name, one in products.items()}
        return given, {name: one.of(one.kernel, one.x) for name, one in products.items()}

    given, made = jax.device_get(jax.jit(found)(params))
    return fans, given, made


def ratio(kernel: np.ndarray, x: np.ndarray) -> float:
    """By hand, in float64: kernel [I, O], x [..., I]."""
    kernel, x = np.asarray(kernel, np.float64), np.asarray(x, np.float64)
    return math.log(rms(x @ kernel) / (rms(kernel) * rms(x))) / math.log(kernel.shape[0])


def moved(params: Any, size: float = 0.1) -> Any:
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return jax.tree.unflatten(
        structure, [x + size * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    )


@pytest.mark.parametrize("width", [256, 1024])
def test_independent_numbers_have_a_half_and_aligned_ones_one(width: int) -> None:
    weights, inputs = jax.random.split(jax.random.key(width))
    x = jax.random.normal(inputs, (16, width))
    free = float(log_alignment_ratio(jax.random.normal(weights, (width, width)), x))
    assert free == pytest.approx(0.5, abs=0.01)
    assert float(log_alignment_ratio(jnp.outer(x[0], jnp.ones(width)), x[0])) == pytest.approx(1.0, abs=1e-6)
    # neither size matters, however small
    tiny = log_alignment_ratio(1e-30 * jnp.outer(x[0], jnp.ones(width)), 1e-25 * x[0])
    assert float(tiny) == pytest.approx(1.0, abs=1e-6)


def test_the_facts_own_draws() -> None:
    """Measured there with one x: 0.505 at n = 1024, 0.495 at n = 256; the ratio of one x varies by some hundredths."""
    for width in (256, 1024):
        chance = np.random.default_rng(0)
        kernel, x = chance.standard_normal((width, width)), chance.standard_normal(width)
        found = float(log_alignment_ratio(jnp.asarray(kernel, jnp.float32), jnp.asarray(x, jnp.float32)))
        assert found == pytest.approx(ratio(kernel, x), abs=1e-5)
        assert found == pytest.approx(0.5, abs=0.02)


def test_nothing_has_no_ratio() -> None:
    assert math.isnan(float(log_alignment_ratio(jnp.zeros((4, 4)), jnp.ones(4))))
    assert math.isnan(float(log_alignment_ratio(jnp.ones((4, 4)), jnp.zeros(4))))
    assert math.isnan(float(log_alignment_ratio(jnp.ones((1, 4)), jnp.ones(1))))


def test_the_three_terms_of_a_perceptron_are_those_by_hand() -> None:
    config = MLPConfig(inputs=6, width=24, layers=3, outputs=5)
    network = parameterized_mlp(config, ParameterizationConfig("mup", base_width=8))
    x = jax.random.normal(jax.random.key(0), (9, 6))
    params_0 = network.init(jax.random.key(1), x)["params"]
    params_t = moved(params_0)
    found = measured(network, params_0, params_t, x)
    assert sorted(found) == ["embedding", "hidden_0", "readout"]
    before, after = np.asarray(x), np.asarray(x)
    for name in ("embedding", "hidden_0", "readout"):  # multipliers are left out: they change no ratio
        kernel_0, kernel_t = (np.asarray(network.folded(params)[name]) for params in (params_0, params_t))
        expected = {"alignment": (kernel_t, after), "alpha": (kernel_t - kernel_0, before)}
        if name != "embedding":
            expected |= {"omega": (kernel_0, after - before), "u": (kernel_t - kernel_0, after - before)}
        for key, term in expected.items():
            assert float(found[name][key]) == pytest.approx(ratio(*term), abs=1e-4), (name, key)
        before, after = np.tanh(before @ kernel_0), np.tanh(after @ kernel_t)
    assert all(math.isnan(float(found["embedding"][key])) for key in ("omega", "u"))
    same = measured(network, params_0, params_0, x)
    for name, told in same.items():
        assert [key for key in MEASURES if math.isnan(float(told[key]))] == ["alpha", "omega", "u"]
        assert 0.2 < float(told["alignment"]) < 0.8, name


class _Layers(nn.Module):
    """A layer that is used twice, one behind `nn.remat`, a convolution, several new axes, and a jitted function."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        twice = nn.Dense(12, name="twice")
        x = nn.gelu(twice(nn.relu(twice(x))))
        x = nn.remat(nn.Dense)(8, name="kept")(x)
        x = nn.Conv(6, (3,), name="window")(x[None])[0]
        x = nn.DenseGeneral((2, 5), name="heads")(x)
        weights = self.param("bare", nn.initializers.normal(1.0), (3, 4, 10))
        return jax.jit(lambda w, x: x @ w.reshape(12, 10).T.astype(jnp.float32))(2.0 * weights, x.reshape(-1, 10))


def test_layers_of_all_kinds_are_found() -> None:
    network, x = _Layers(), jax.random.normal(jax.random.key(0), (7, 12))
    params = moved(network.init(jax.random.key(1), x)["params"])
    fans, given, made = arrays_of(network, params, x)
    assert fans == {
        "twice": 12, "twice:2": 12, "kept": 12, "window": 3 * 8, "heads": 6, "bare": 10,
    }  # fmt: skip
    kernel, inputs = given["bare"]
    np.testing.assert_allclose(kernel, 2.0 * params["bare"].reshape(12, 10).T)
    np.testing.assert_allclose(made["bare"], inputs @ kernel, rtol=1e-4, atol=1e-5)
    kernel, inputs = given["heads"]
    np.testing.assert_allclose(made["heads"], np.tensordot(inputs, kernel, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(given["twice"][1], x)
    first = np.asarray(x) @ np.asarray(params["twice"]["kernel"]) + np.asarray(params["twice"]["bias"])
    np.testing.assert_allclose(given["twice:2"][1], np.maximum(first, 0), rtol=1e-5, atol=1e-6)
    told = measured(network, params, moved(params), x)
    assert told.keys() == fans.keys()
    for name, values in told.items():
        known = MEASURES[:2] if name == "twice" else MEASURES
        assert [key for key in MEASURES if math.isfinite(values[key])] == list(known), name


def test_the_decoders_layers_are_told_by_their_names() -> None:
    config = LMConfig(vocab_size=17, width=16, layers=1, heads=2, head_width=8, mlp_width=32, max_distance=4)
    network, tokens = DecoderLM(config), jax.random.randint(jax.random.key(0), (3, 12), 1, 17)
    params: Any = jax.jit(network.init)(jax.random.key(1), tokens)["params"]
    fans, given, _ = arrays_of(network, params, tokens)
    assert fans == {
        **{f"attention_0/{name}": 16 for name in ("query", "key", "value", "out")},
        "attention_0/distance": 8, "mlp_0/gate": 16, "mlp_0/linear": 16, "mlp_0/out": 32, "logits": 16,
    }  # fmt: skip
    measure = jax.jit(lambda *both: measure_alignment(network, *both, tokens))
    kernel, x = given["mlp_0/gate"]
    assert float(measure(params, params)["mlp_0/gate"]["alignment"]) == pytest.approx(ratio(kernel, x), abs=1e-4)
    # a change that follows the inputs is aligned with them, more than a chance one
    pulled = jax.tree.map(lambda x: x, params)
    pulled["mlp_0"]["gate"]["kernel"] = params["mlp_0"]["gate"]["kernel"] + np.outer(x.reshape(-1, 16)[5], np.ones(32))
    told = measure(params, pulled)["mlp_0/gate"]
    assert float(told["alpha"]) > float(measure(params, moved(params))["mlp_0/gate"]["alpha"]) + 0.1
    assert math.isnan(float(told["omega"]))


def test_a_network_without_products_is_refused() -> None:
    class Shift(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return x + self.param("bias", nn.initializers.zeros, (3,))

    with pytest.raises(ValueError, match="Shift multiplies nothing with a parameter"):
        measure_alignment(Shift(), {"bias": jnp.zeros(3)}, {"bias": jnp.ones(3)}, jnp.ones(3))
