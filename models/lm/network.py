"""The decoder-only language model: the shape of arXiv:2404.03626 (Table 4), small or large by its config.

Pre-norm blocks of relative attention and a gated ReLU MLP. B = batch, L = length, D = width, V = vocabulary.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning
from flax.linen.spmd import with_logical_constraint

from models.lm.attention import RelativeAttention
from models.lm.config import LMConfig
from models.lm.layers import GatedMLP, Projection, RMSNorm, as_type


class DecoderLM(nn.Module):
    """Tokens to next-token logits."""

    config: LMConfig

    @nn.compact
    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        segments_BL: jax.Array | None = None,
        decode: bool = False,
        lengths_B: jax.Array | None = None,
        last_only: bool = False,
    ) -> jax.Array:
        """Predicts each next token; int [B, L] to float32 [B, L, V].

        Args:
            tokens_BL: ids below V.
            segments_BL: ids of the documents packed in a row, int [B, L]; None where a row is one stream.
            decode: whether positions follow those in the collection "cache" (see `models.lm.decoding`).
            lengths_B: with `decode`, how many positions of each row are real, the last ones, int [B].
            last_only: whether to predict after the last position alone, [B, 1, V].
        """
        c = self.config
        table_VD = partitioning.param_with_axes(
            "embedding", nn.initializers.normal(c.width**-0.5), (c.vocab_size, c.width), axes=("vocab", "embed")
        )
        x_BLD = as_type(jnp.take(table_VD, tokens_BL, axis=0), c.dtype)
        x_BLD = blocks(c, x_BLD, segments_BL=segments_BL, decode=decode, lengths_B=lengths_B)
        if last_only:
            x_BLD = x_BLD[:, -1:]
        return to_logits(c, x_BLD)


def blocks(
    config: LMConfig,
    x_BLD: jax.Array,
    *,
    segments_BL: jax.Array | None = None,
    decode: bool = False,
    lengths_B: jax.Array | None = None,
) -> jax.Array:
    """The decoder's blocks, within the compact method of whatever embeds their positions; float [B, L, D] to the same.

    Args:
        config: sizes.
        x_BLD: embedded positions.
        segments_BL: as in `DecoderLM`, like the next two.
        decode: whether positions follow those in the collection "cache".
        lengths_B: how many of them are real.
    """
    spread = lambda x: with_logical_constraint(x, ("batch", "length", "embed"))  # noqa: E731
    for layer in range(config.layers):
        attend = RelativeAttention(config, name=f"attention_{layer}")
        normed = RMSNorm(name=f"attention_norm_{layer}")(spread(x_BLD))
        x_BLD += attend(normed, segments_BL=segments_BL, decode=decode, lengths_B=lengths_B)
        x_BLD += GatedMLP(config, name=f"mlp_{layer}")(RMSNorm(name=f"mlp_norm_{layer}")(spread(x_BLD)))
    return x_BLD


def to_logits(config: LMConfig, x_BLD: jax.Array) -> jax.Array:
    """The normalised last positions as logits, within the same method; float [B, L, D] to float32 [B, L, V]."""
    logits = Projection((config.vocab_size,), ("embed", "vocab"), dtype=config.dtype, name="logits")
    return logits(RMSNorm(name="final_norm")(x_BLD)).astype(jnp.float32)


def first_shapes(config: LMConfig) -> Any:
    """What has the shapes of the parameters, in their structure; nothing is computed."""
    return _abstract(config)["params"]


@functools.cache
def _abstract(config: LMConfig) -> Any:
    return jax.eval_shape(DecoderLM(config).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))


@functools.cache
def logical_axes(config: LMConfig) -> Any:
    """The logical axis names of each parameter, in the parameters' structure: tuples such as ("embed", "mlp")."""
    names = partitioning.get_axis_names(_abstract(config)["params_axes"])
    return jax.tree.map(tuple, names, is_leaf=lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec))
