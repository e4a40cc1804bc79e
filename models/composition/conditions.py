"""What a network is told about a point, as one vector; a learned one stands for nothing being told.

So one network is a model given each condition and the unconditional one (Ho and Salimans 2022). B = batch,
E = width of the vector, L = words.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.composition.diffusion_config import ConditionConfig
from models.composition.layers import Attention, Dense, Norm, Table

OCTAVES = 4  # of the sines that a vector's numbers are read by: the finest has a period of 1/4


class Condition(nn.Module):
    """The vector of a condition."""

    config: ConditionConfig

    @nn.compact
    def __call__(self, condition: Any, present_B: jax.Array) -> jax.Array:
        """Embeds.

        Args:
            condition: of each example, as `ConditionConfig.kind` says.
            present_B: bool; where False the learned null stands in for the condition.

        Returns:
            float32 [B, E].
        """
        c = self.config
        encoders = {"classes": self._class, "vector": self._vector, "words": self._words}
        told_BE = encoders[c.kind](condition)
        nothing_E = partitioning.param_with_axes("nothing", nn.initializers.normal(1.0), (c.width,), axes=("embed",))
        return jnp.where(present_B[:, None], told_BE, nothing_E[None])

    def _class(self, class_B: jax.Array) -> jax.Array:
        return Table(self.config.size, self.config.width, name="class_table")(class_B)

    def _vector(self, vector_BV: jax.Array) -> jax.Array:
        angles = [math.pi * 2.0**octave * vector_BV for octave in range(OCTAVES)]
        waves = [wave(angle) for angle in angles for wave in (jnp.sin, jnp.cos)]
        hidden = nn.silu(Dense(2 * self.config.width, name="read")(jnp.concatenate([vector_BV, *waves], axis=-1)))
        return Dense(self.config.width, ("mlp", "embed"), name="out")(hidden)

    def _words(self, words_BL: jax.Array) -> jax.Array:
        c = self.config
        seen_BL = words_BL > 0
        places_LE = Table(c.length, c.width, 0.5, name="places")(jnp.arange(c.length))
        x_BLE = Table(c.size, c.width, name="words")(words_BL) + places_LE[None]
        normed_BLE = Norm(name="norm")(x_BLE.reshape(-1, c.width)).reshape(x_BLE.shape)  # of each word alone
        x_BLE = x_BLE + Attention(1, zero=False, name="attention")(normed_BLE, seen_BL)
        x_BLE = x_BLE + Dense(c.width, ("mlp", "embed"), name="out")(nn.silu(Dense(2 * c.width, name="read")(x_BLE)))
        weights_BL = seen_BL.astype(x_BLE.dtype)
        count_B = jnp.maximum(jnp.sum(weights_BL, axis=1), 1.0)
        return jnp.sum(x_BLE * weights_BL[..., None], axis=1) / jnp.sqrt(count_B)[:, None]


def some_condition(config: ConditionConfig, count: int) -> Any:
    """Conditions of the right shapes and types for so many points, all zeros; None where there are none."""
    if config.kind == "none":
        return None
    if config.kind == "classes":
        return jnp.zeros(count, jnp.int32)
    return jnp.zeros((count, config.size)) if config.kind == "vector" else jnp.zeros((count, config.length), jnp.int32)
