"""The decoder-only language model: the shape of arXiv:2404.03626 (Table 4), small or large by its config.

Pre-norm blocks of causal self-attention with learned relative position embeddings on the keys (Shaw et al.,
arXiv:1803.02155, each layer its own) and a gated ReLU MLP of three matrices, which is what the paper's parameter
counts imply. B = batch, L = length, D = width, H = heads, K = head width, M = MLP width, V = vocabulary.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class LMConfig:
    """Sizes of a decoder; the defaults are the paper's 3m model over bytes."""

    vocab_size: int = 257
    width: int = 256
    layers: int = 3
    heads: int = 4
    head_width: int = 64
    mlp_width: int = 1024
    max_distance: int = 128

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "head_width", "mlp_width", "max_distance"):
            if getattr(self, name) < 1:
                raise ValueError(f"LMConfig.{name} must be at least 1, got {getattr(self, name)}")

    def block_parameters(self) -> int:
        """Parameters of all blocks' matrices: layers * (4 D H K + 3 D M), the paper's way of counting size."""
        return self.layers * (4 * self.width * self.heads * self.head_width + 3 * self.width * self.mlp_width)


class RelativeAttention(nn.Module):
    """Causal self-attention with learned embeddings of clipped distances added to the keys."""

    config: LMConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Attends; float [B, L, D] to float [B, L, D]."""
        c, length = self.config, x_BLD.shape[1]
        project = lambda name: nn.DenseGeneral((c.heads, c.head_width), use_bias=False, name=name)(x_BLD)  # noqa: E731
        q_BLHK, k_BLHK, v_BLHK = project("query"), project("key"), project("value")
        q_BLHK = q_BLHK / c.head_width**0.5
        position = jnp.arange(length)
        distance_LL = jnp.clip(position[:, None] - position[None, :], 0, c.max_distance - 1)
        relative_LLK = nn.Embed(c.max_distance, c.head_width, name="distance")(distance_LL)
        scores_BHLL = jnp.einsum("bqhk,bshk->bhqs", q_BLHK, k_BLHK) + jnp.einsum("bqhk,qsk->bhqs", q_BLHK, relative_LLK)
        causal_LL = position[:, None] >= position[None, :]
        weights_BHLL = nn.softmax(jnp.where(causal_LL[None, None], scores_BHLL, -jnp.inf).astype(jnp.float32))
        mixed_BLHK = jnp.einsum("bhqs,bshk->bqhk", weights_BHLL.astype(x_BLD.dtype), v_BLHK)
        return nn.DenseGeneral(c.width, axis=(-2, -1), use_bias=False, name="out")(mixed_BLHK)


class GatedMLP(nn.Module):
    """ReLU(x W) * (x V), projected back."""

    config: LMConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Transforms each position; float [B, L, D] to float [B, L, D]."""
        gate = nn.relu(nn.Dense(self.config.mlp_width, use_bias=False, name="gate")(x_BLD))
        return nn.Dense(self.config.width, use_bias=False, name="out")(
            gate * nn.Dense(self.config.mlp_width, use_bias=False, name="linear")(x_BLD)
        )


class DecoderLM(nn.Module):
    """Tokens to next-token logits."""

    config: LMConfig

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        """Predicts each next token; int [B, L] to float [B, L, V]."""
        c = self.config
        x_BLD = nn.Embed(c.vocab_size, c.width, name="embed")(tokens_BL)
        for layer in range(c.layers):
            x_BLD += RelativeAttention(c, name=f"attention_{layer}")(nn.RMSNorm(name=f"attention_norm_{layer}")(x_BLD))
            x_BLD += GatedMLP(c, name=f"mlp_{layer}")(nn.RMSNorm(name=f"mlp_norm_{layer}")(x_BLD))
        return nn.Dense(c.vocab_size, use_bias=False, name="logits")(nn.RMSNorm(name="final_norm")(x_BLD))
