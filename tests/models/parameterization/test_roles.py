"""Roles told from shapes, and first values told from draws, on networks that were not made for it."""

import functools
from fractions import Fraction
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from models.parameterization.roles import own_exponents, roles_of
from shammie.errors import UserError

HALF = Fraction(1, 2)


class Stranger(nn.Module):
    """A small transformer of Flax's own parts."""

    width: int

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        x = nn.Embed(11, self.width, name="tokens")(tokens_BL)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(nn.LayerNorm(name="norm")(x))
        x = x + nn.Dense(self.width, name="down")(nn.relu(nn.Dense(4 * self.width, name="up")(x)))
        x = nn.Conv(self.width, (3,), name="conv")(x)
        return nn.Dense(5, name="logits")(x)


def _init(width: int, key: jax.Array) -> Any:
    return Stranger(width).init(key, jnp.zeros((1, 4), jnp.int32))["params"]


def _shapes(width: int) -> Any:
    return jax.eval_shape(lambda key: _init(width, key), jax.random.key(0))


def test_every_parameter_of_a_strangers_network() -> None:
    found = roles_of(_shapes(8), _shapes(16))
    hidden = {"kernel": "hidden", "bias": "vector"}
    assert found == {
        "tokens": {"embedding": "embedding"},
        "norm": {"scale": "vector", "bias": "vector"},
        "attention": {name: hidden for name in ("query", "key", "value", "out")},
        "up": hidden,
        "down": hidden,
        "conv": hidden,
        "logits": {"kernel": "readout", "bias": "fixed"},
    }
    assert roles_of(_shapes(16), _shapes(8)) == found


def test_own_first_values() -> None:
    def flax(width: int, key: jax.Array) -> Any:
        layers = nn.Sequential([nn.Embed(11, width), nn.Dense(2 * width), nn.Dense(3)])
        return layers.init(key, jnp.zeros((1,), jnp.int32))["params"]

    shapes = [jax.eval_shape(functools.partial(flax, width), jax.random.key(0)) for width in (16, 32)]
    found = own_exponents(flax, roles_of(*shapes), (16, 32))
    # nn.Embed draws N(0, 1 / width), nn.Dense N(0, 1 / inputs)
    dense = {"kernel": HALF, "bias": 0}
    assert found == {"layers_0": {"embedding": HALF}, "layers_1": dense, "layers_2": dense}

    def constant(width: int, key: jax.Array) -> dict[str, jax.Array]:
        return {"w": 0.3 * jax.random.normal(key, (3, width)), "zero": jnp.zeros((width, 3))}

    assert own_exponents(constant, {"w": "embedding", "zero": "readout"}, (4, 16)) == {"w": 0, "zero": 0}


def test_first_values_of_no_known_power() -> None:
    def odd(width: int, key: jax.Array) -> dict[str, jax.Array]:
        return {"w": width**-0.25 * jax.random.normal(key, (8, width))}

    with pytest.raises(UserError, match=r"no multiple of 1/2: w ~ n\^-0.2"):
        own_exponents(odd, {"w": "embedding"}, (64, 1024))
    with pytest.raises(UserError, match="the widths 8 and 12 are too near"):
        own_exponents(odd, {"w": "embedding"}, (8, 12))


def _tree(**shapes: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def test_what_cannot_be_told_is_listed_with_the_cure() -> None:
    small, large = _tree(w=(3, 8), stack=(2, 8, 5), less=(8, 4)), _tree(w=(3, 16), stack=(2, 16, 5), less=(16, 2))
    with pytest.raises(UserError) as caught:
        roles_of(small, large)
    assert str(caught.value) == (
        "the roles of 2 parameters cannot be told from their shapes: less (8, 4) -> (16, 2), "
        "stack (2, 8, 5) -> (2, 16, 5); name them by rules such as rules=((r'less', 'hidden'),), "
        "roles are embedding, hidden, readout, vector, fixed"
    )
    rules = (("^less$", "hidden"), ("stack", "readout"))
    assert roles_of(small, large, rules=rules) == {"w": "embedding", "stack": "readout", "less": "hidden"}


def test_the_first_rule_that_is_found_decides_before_shapes() -> None:
    small, large = {"a": _tree(w=(3, 8), v=(8, 3))}, {"a": _tree(w=(3, 16), v=(16, 3))}
    both = (("a/", "hidden"), ("v", "embedding"))
    assert roles_of(small, large, rules=both[::-1]) == {"a": {"w": "hidden", "v": "embedding"}}
    with pytest.raises(UserError, match="the rule 'v' decides for no parameter"):
        roles_of(small, large, rules=both)
    assert roles_of(small, large, rules=(("a/w", "readout"),)) == {"a": {"w": "readout", "v": "readout"}}


def test_bad_rules_and_trees() -> None:
    small, large = _tree(w=(3, 8)), _tree(w=(3, 16))
    with pytest.raises(UserError, match="unknown role 'hiden'; did you mean hidden"):
        roles_of(small, large, rules=(("w", "hiden"),))
    with pytest.raises(UserError, match="the rule 'head' decides for no parameter; parameters are w"):
        roles_of(small, large, rules=(("head", "readout"),))
    with pytest.raises(UserError, match="other parameters at another width: v, w"):
        roles_of(small, _tree(v=(3, 16)))
    with pytest.raises(UserError, match="no parameter grows"):
        roles_of(small, small)
