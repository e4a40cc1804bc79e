"""What a network is told about a point, as one vector; a learned one stands for nothing being told.

So one network is a model given each condition and the unconditional one (Ho and Salimans 2022). Where things lie is
shown beside the image as well, as maps. B = batch, E = width of the vector, L = words, H, W = height and width.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.composition.diffusion_config import ConditionConfig
from models.composition.layers import Attention, Dense, Norm, Table

REACHES = (0.07, 0.2)  # of the bumps that a place is drawn as, shares of a side
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
        encoders = {"classes": self._class, "vector": self._vector, "place": self._vector, "words": self._words}
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


def condition_spec(config: ConditionConfig) -> tuple[tuple[int, ...], Any] | None:
    """Shape and type of one condition; None where there is none."""
    specs: dict[str, tuple[tuple[int, ...], Any]] = {
        "classes": ((), jnp.dtype(jnp.int32)),
        "place": ((2,), jnp.dtype(jnp.float32)),
        "vector": ((config.size,), jnp.dtype(jnp.float32)),
        "words": ((config.length,), jnp.dtype(jnp.int32)),
    }
    return specs.get(config.kind)


def some_condition(config: ConditionConfig, count: int) -> Any:
    """Conditions of the right shapes and types for so many points, all zeros; None where there are none."""
    spec = condition_spec(config)
    return None if spec is None else jnp.zeros((count, *spec[0]), spec[1])


def place_maps(place_B2: jax.Array, present_B: jax.Array, height: int, width: int) -> jax.Array:
    """Places as images: bumps round each, and whether there is one; zeros where the place is not told.

    Convolutions cannot tell one position from another, and take many thousand steps to learn it from a vector.

    Args:
        place_B2: x to the right and y down, from 0 to 1.
        present_B: bool.
        height: of the images.
        width: of the images.

    Returns:
        float32 [B, height, width, len(REACHES) + 1].
    """
    right_BHW = (jnp.arange(width) + 0.5)[None, None, :] / width - place_B2[:, 0, None, None]
    down_BHW = (jnp.arange(height) + 0.5)[None, :, None] / height - place_B2[:, 1, None, None]
    squares_BHW = right_BHW**2 + down_BHW**2
    bumps = [jnp.exp(-squares_BHW / (2.0 * reach**2)) for reach in REACHES]
    maps_BHWC = jnp.stack([*bumps, jnp.ones_like(squares_BHW)], axis=-1)
    return jnp.where(present_B[:, None, None, None], maps_BHWC, 0.0)
