"""The shared decoder by its width: sizes, the paper's largest, roles, first values."""

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.parameterization.language_model import (
    lm_of_width,
    lm_own_exponents,
    lm_roles,
    lm_shapes,
    parameterized_lm,
)
from models.parameterization.roles import own_exponents
from models.parameterization.scaling import ParameterizationConfig
from shammie.errors import UserError

HEADS = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128)


def test_the_papers_14_widths_come_to_26_8_billion_parameters() -> None:
    """By abstract shapes. The paper's sum is 12 * 8 D^2 + 2 V D + 512 D: 26.83B; ours has no 512 learned positions."""
    counts = []
    for heads in HEADS:
        config = lm_of_width(128 * heads)
        assert (config.width, config.heads, config.head_width) == (128 * heads, heads, 128)
        assert (config.layers, config.mlp_width, config.vocab_size) == (8, 341 * heads, 32_101)
        counts.append(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(lm_shapes(config))))
    for heads, count in zip(HEADS, counts, strict=True):
        D = 128 * heads
        assert count == pytest.approx(12 * 8 * D**2 + 2 * 32_101 * D, rel=0.02)
    assert round(counts[-1] / 1e9, 1) == 26.8
    assert (len(counts), counts) == (14, sorted(counts))


def test_a_width_that_is_not_a_multiple_of_the_head_width() -> None:
    with pytest.raises(UserError, match="the width 100 is not a multiple of the head width 16; give 96 or 112"):
        lm_of_width(100, 16)
    with pytest.raises(UserError, match="the width 64 is not a multiple of the head width 128; give 128, or"):
        lm_of_width(64)
    with pytest.raises(UserError, match="the head width is 0"):
        lm_of_width(64, 0)
    assert lm_of_width(96, 16).heads == 6


def _tiny(width: int) -> LMConfig:
    return lm_of_width(width, 8, layers=2, vocab_size=11, max_distance=4)


def test_every_parameter_has_its_role() -> None:
    block = {"query": "hidden", "key": "hidden", "value": "hidden", "out": "hidden"}
    expected: dict[str, Any] = {"embedding": "embedding", "logits": {"kernel": "readout"}}
    for layer in range(2):
        kernels = {name: {"kernel": role} for name, role in block.items()}
        expected[f"attention_{layer}"] = {**kernels, "distance": "fixed"}
        expected[f"mlp_{layer}"] = {name: {"kernel": "hidden"} for name in ("gate", "linear", "out")}
        expected[f"attention_norm_{layer}"] = expected[f"mlp_norm_{layer}"] = {"scale": "vector"}
    expected["final_norm"] = {"scale": "vector"}
    assert lm_roles(_tiny(16)) == expected
    assert jax.tree.structure(lm_roles(_tiny(16))) == jax.tree.structure(lm_shapes(_tiny(16)))


def test_its_own_first_values_are_as_told() -> None:
    config = lm_of_width(16, 8, layers=1, vocab_size=11, max_distance=4)
    roles = lm_roles(config)

    def init(width: int, key: jax.Array) -> Any:
        sizes = lm_of_width(width, 8, layers=1, vocab_size=11, max_distance=4)
        return DecoderLM(sizes).init(key, jnp.zeros((1, 2), jnp.int32))["params"]

    assert own_exponents(init, roles, (16, 64)) == lm_own_exponents(roles)
    assert lm_own_exponents(roles)["embedding"] == Fraction(1, 2)


def test_the_embedding_is_as_large_at_any_width_but_for_mups_multiplier() -> None:
    """Standard's b = 0, though the decoder draws its table from N(0, 1 / D): at n = 4 the table is twice as large."""
    tokens, config = jnp.arange(4)[None], lm_of_width(64, 8, layers=1, vocab_size=11, max_distance=4)
    plain: Any = DecoderLM(config).init(jax.random.key(0), tokens)
    for name, table, logits in (("standard", 2.0, 1.0), ("mup", 1.0, 0.5), ("ntk", 2.0, 1.0), ("mean_field", 2.0, 0.5)):
        p = parameterized_lm(config, ParameterizationConfig(name, base_width=16))
        variables = p.init(jax.random.key(0), tokens)
        folded: Any = p.folded(variables["params"])
        np.testing.assert_array_equal(variables["params"]["embedding"], table * plain["params"]["embedding"])
        np.testing.assert_array_equal(folded["embedding"], 2.0 * plain["params"]["embedding"])
        np.testing.assert_array_equal(folded["logits"]["kernel"], logits * plain["params"]["logits"]["kernel"])
        np.testing.assert_array_equal(folded["mlp_0"]["gate"]["kernel"], plain["params"]["mlp_0"]["gate"]["kernel"])
        np.testing.assert_array_equal(
            p.apply(variables, tokens), np.asarray(p.network.apply({"params": folded}, tokens))
        )
        assert set(variables) == {"params", "params_axes"}  # the names that T5X partitions by stay
