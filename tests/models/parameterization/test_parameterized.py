"""The public three lines, on a network and an optimizer that were not made for them."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import shammie
from models.parameterization.scaling import ParameterizationConfig
from shammie.errors import UserError


class Net(nn.Module):
    """Somebody's classifier of tokens, with Flax's own first values and biases."""

    width: int

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        x = nn.Embed(7, self.width, name="table")(tokens_BL).sum(axis=1)
        x = nn.relu(nn.Dense(self.width, name="up")(nn.LayerNorm(name="norm")(x)))
        return nn.Dense(3, name="out")(x)


TOKENS = jax.random.randint(jax.random.key(5), (4, 6), 0, 7)
told = functools.cache(functools.partial(shammie.Parameterized.of, Net, TOKENS, widths=(16, 32), base_width=16))


def of(**settings: Any) -> Any:
    """Net at width 64, its roles and first values told once for all tests."""
    first = told(width=16)
    config = ParameterizationConfig(base_width=16, **settings)
    return shammie.Parameterized(Net(64), config, width=64, roles=first.roles, own=first.own)


def _loss(p: Any, variables: Any) -> jax.Array:
    labels = jnp.array([0, 1, 2, 0])
    return optax.softmax_cross_entropy_with_integer_labels(p.apply(variables, TOKENS), labels).mean()


def test_at_the_base_width_it_is_the_plain_network_and_optimizer() -> None:
    p = told(width=16, parameterization="mup", optimizer="adamw")
    variables = p.init(jax.random.key(0), TOKENS)
    plain: Any = Net(16).init(jax.random.key(0), TOKENS)
    jax.tree.map(np.testing.assert_array_equal, variables, plain)
    np.testing.assert_array_equal(p.apply(variables, TOKENS), np.asarray(Net(16).apply(plain, TOKENS)))
    gradient = jax.grad(lambda v: _loss(p, v))(variables)
    ours, theirs = p.optimizer(optax.adamw, 1e-2), optax.adamw(1e-2)
    moved, _ = ours.update(gradient, ours.init(variables), variables)
    expected, _ = theirs.update(gradient, theirs.init(variables), variables)
    jax.tree.map(np.testing.assert_array_equal, moved, expected)


def test_wider_each_parameter_has_its_own_numbers() -> None:
    """n = 4; nn.Embed draws n^-1/2, which muP's embedding is to be too, times a multiplier of n^1/2."""
    p = of(name="mup", optimizer="adam")
    variables = p.init(jax.random.key(0), TOKENS)
    plain: Any = Net(64).init(jax.random.key(0), TOKENS)
    for name, leaf, init, multiplier, rate in (
        ("table", "embedding", 1.0, 2.0, 0.5),
        ("up", "kernel", 1.0, 1.0, 0.25),
        ("out", "kernel", 1.0, 0.5, 0.5),
        ("up", "bias", 1.0, 1.0, 1.0),
        ("norm", "scale", 1.0, 1.0, 1.0),
        ("out", "bias", 1.0, 1.0, 1.0),
    ):
        at = lambda tree: tree["params"][name][leaf]  # noqa: B023, E731
        np.testing.assert_array_equal(at(variables), init * at(plain))
        np.testing.assert_array_equal(at(p.folded(variables)), multiplier * at(variables))
        optimizer = p.optimizer(optax.adam, learning_rate=0.1, eps=0.0)
        moved, _ = optimizer.update(jax.tree.map(jnp.ones_like, variables), optimizer.init(variables))
        np.testing.assert_allclose(at(moved), -0.1 * rate, rtol=1e-5)
    standard = of().init(jax.random.key(0), TOKENS)
    np.testing.assert_array_equal(standard["params"]["table"]["embedding"], 2 * plain["params"]["table"]["embedding"])


def test_folded_weights_are_the_plain_networks() -> None:
    p = of(name="mean_field", optimizer="sgd")
    variables = p.init(jax.random.key(1), TOKENS)
    folded = p.folded(variables)
    np.testing.assert_array_equal(p.apply(variables, TOKENS), np.asarray(Net(64).apply(folded, TOKENS)))
    jax.tree.map(np.testing.assert_array_equal, p.folded(variables["params"]), folded["params"])


@pytest.mark.parametrize(("name", "factory", "rate"), [
    ("standard", optax.sgd, 0.3), ("mup", optax.adamw, 3e-2), ("ntk", optax.adafactor, 3e-2)])  # fmt: skip
def test_it_learns_with_every_optimizer(name: str, factory: Any, rate: float) -> None:
    p = of(name=name, optimizer=factory.__name__)
    optimizer = p.optimizer(factory, learning_rate=rate)

    @jax.jit
    def step(variables: Any, state: Any) -> tuple[Any, Any, jax.Array]:
        loss, gradient = jax.value_and_grad(lambda v: _loss(p, v))(variables)
        moved, state = optimizer.update(gradient, state, variables)
        return optax.apply_updates(variables, moved), state, loss

    variables = p.init(jax.random.key(0), TOKENS)
    state, losses = optimizer.init(variables), []
    for _ in range(25):
        variables, state, loss = step(variables, state)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0], losses


def test_an_epsilon_per_layer() -> None:
    """m / (sqrt(v) + s e) by hand, with e as large as the gradient; muP at n = 4: s = 1/2, 1/4, 1/2."""
    p = of(name="mup", optimizer="adam", epsilon="per_layer")
    params = p.init(jax.random.key(0), TOKENS)["params"]
    optimizer = p.optimizer(optax.adam, 1.0, eps=1.0)
    moved, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params))
    expected = [
        ("table", "embedding", 0.5, 0.5),
        ("up", "kernel", 0.25, 0.25),
        ("out", "kernel", 0.5, 0.5),
        ("up", "bias", 1.0, 0.25),
        ("out", "bias", 1.0, 1.0),
    ]
    for name, leaf, rate, epsilon in expected:
        np.testing.assert_allclose(moved[name][leaf], -rate / (1 + epsilon), rtol=1e-5)


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"unknown optimizer 'lamb'.*give the one that yours scales as"):
        told(width=64, optimizer="lamb")
    p = of(optimizer="adam")
    with pytest.raises(UserError, match=r"the optimizer 'sgd' does not scale as 'adam'.*optimizer='sgd'"):
        p.optimizer(optax.sgd, 0.1)
    with pytest.raises(UserError, match=r"unknown optimizer 'lamb'"):
        p.optimizer(optax.lamb, 0.1)
    assert p.optimizer(optax.lamb, 0.1, scales_as="adam").init({"w": jnp.ones(2)})
    assert p.optimizer(functools.partial(optax.adam, b2=0.9), 0.1).init({"w": jnp.ones(2)})
    with pytest.raises(UserError, match="scales of 7 parameters"):
        p.folded({"params": {"w": jnp.ones(2)}})

    class Odd(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return jnp.einsum("bi,iwo->bo", x, self.param("cube", nn.initializers.ones, (2, self.width, 3)))

    odd = functools.partial(shammie.Parameterized.of, Odd, jnp.ones((1, 2)), width=8, base_width=4)
    with pytest.raises(
        UserError, match=r"cube \(2, 4, 3\) -> \(2, 8, 3\); name them by rules such as rules=\(\(r'cube'"
    ):
        odd()
    assert odd(rules=(("cube", "readout"),)).roles == {"cube": "readout"}
