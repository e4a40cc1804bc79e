"""The network for points of a few numbers: residual blocks, each told the noise level (the paper's 2D notebook).

B = batch, X = numbers of a point, D = width, E = what a block is told.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.composition.conditions import Condition
from models.composition.diffusion_config import DiffusionConfig
from models.composition.layers import Dense, Norm, Table


class ResidualBlock(nn.Module):
    """x + W3 s(W2 s(W1 s(norm(x)) + U told)), s = SiLU, W3 zero at first.

    Attributes:
        widen: times the width of the stream.
    """

    widen: int

    @nn.compact
    def __call__(self, x_BD: jax.Array, told_BE: jax.Array) -> jax.Array:
        """Transforms; float32 [B, D] to the same shape."""
        width, inner = x_BD.shape[-1], self.widen * x_BD.shape[-1]
        h = Dense(inner, name="into")(nn.silu(Norm(name="norm")(x_BD)))
        h = nn.silu(h + Dense(inner, name="told")(told_BE))
        h = nn.silu(Dense(inner, ("mlp", None), name="within")(h))
        return x_BD + Dense(width, ("mlp", "embed"), zero=True, name="out")(h)


class MLP(nn.Module):
    """The residual network; as a classifier its outputs are the classes' logits."""

    config: DiffusionConfig

    @nn.compact
    def __call__(self, x_BX: jax.Array, level_B: jax.Array, condition: Any, present_B: jax.Array) -> jax.Array:
        """The output f of some points.

        Args:
            x_BX: noised points, float32 [B, X].
            level_B: of each, int32.
            condition: of each, or None where the config has none; a classifier reads none.
            present_B: bool; where False the condition counts as not told.

        Returns:
            float32 [B, X], or logits [B, classes].
        """
        c = self.config
        told_BE = Table(c.schedule.levels, c.level_width, name="levels")(level_B)
        if c.condition.kind != "none" and c.form != "classifier":
            given_BE = Condition(c.condition, name="condition")(condition, present_B)
            told_BE = jnp.concatenate([told_BE, given_BE], axis=-1)
        x_BD = Dense(c.width, ("features", "embed"), name="into")(x_BX)
        for number in range(c.blocks):
            x_BD = ResidualBlock(c.widen, name=f"block_{number}")(x_BD, told_BE)
        if c.form == "classifier":
            return Dense(c.condition.size, ("embed", "classes"), zero=True, name="out")(x_BD)
        # E = ||f||^2 / 2 has no gradient in the parameters where f and its slope are 0
        return Dense(c.numbers, ("embed", "features"), zero=c.form != "l2", name="out")(x_BD)
