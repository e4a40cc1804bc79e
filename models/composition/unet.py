"""The network for images: a U-Net of residual blocks, each told level and condition, attention where wanted.

After Ho et al. 2020 and Dhariwal and Nichol 2021, with smooth activations. B = batch, H, W, C = an image's axes,
E = what a block is told.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.composition.conditions import Condition, place_maps
from models.composition.diffusion_config import DiffusionConfig
from models.composition.layers import Attention, Conv, Dense, Norm

LONGEST = 1e4  # period of the slowest sine, in units of a thousandth of all levels


class ConvBlock(nn.Module):
    """x + conv(s(scale * norm(conv(s(norm(x)))) + shift)), scale and shift of what is told; s = SiLU.

    Attributes:
        width: channels of the output.
        groups: of the norms.
    """

    width: int
    groups: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, told_BE: jax.Array) -> jax.Array:
        """Transforms; float32 [B, H, W, C] to float32 [B, H, W, width]."""
        h = Conv(self.width, name="into")(nn.silu(Norm(self.groups, name="norm")(x_BHWC)))
        scale, shift = jnp.split(Dense(2 * self.width, name="told")(told_BE)[:, None, None], 2, axis=-1)
        h = nn.silu(Norm(self.groups, name="norm_within")(h) * (1.0 + scale) + shift)
        h = Conv(self.width, ("mlp", "embed"), zero=True, name="out")(h)
        if x_BHWC.shape[-1] != self.width:
            x_BHWC = Dense(self.width, ("embed", None), name="past")(x_BHWC)
        return x_BHWC + h


class ImageAttention(nn.Module):
    """Every position reads every other."""

    heads: int
    groups: int

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Mixes positions; float32 [B, H, W, C] to the same shape."""
        batch, height, width, channels = x_BHWC.shape
        flat = Norm(self.groups, name="norm")(x_BHWC).reshape(batch, height * width, channels)
        return x_BHWC + Attention(self.heads, name="attention")(flat).reshape(x_BHWC.shape)


class UNet(nn.Module):
    """The U-Net; as a classifier its way down alone, averaged over positions."""

    config: DiffusionConfig

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, level_B: jax.Array, condition: Any, present_B: jax.Array) -> jax.Array:
        """The output f of some images.

        Args:
            x_BHWC: noised images, float32.
            level_B: of each, int32.
            condition: of each, or None where the config has none; a classifier reads none.
            present_B: bool; where False the condition counts as not told.

        Returns:
            float32 [B, H, W, C], or logits [B, classes].
        """
        c = self.config
        told_BE = self._told(level_B, condition, present_B)
        seen_BHWC = x_BHWC
        if c.condition.kind == "place":
            maps_BHWC = place_maps(condition, present_B, *x_BHWC.shape[1:3])
            seen_BHWC = jnp.concatenate([x_BHWC, maps_BHWC], axis=-1)
        x = Conv(c.widths[0], ("features", "embed"), name="into")(patched(seen_BHWC, c.patch))
        skips = [x]
        for place in range(len(c.widths)):
            if place:
                x = halved(x)
                skips.append(x)
            for number in range(c.blocks):
                x = self._block(x, told_BE, place, f"down_{place}_{number}")
                skips.append(x)
        last = len(c.widths) - 1
        x = self._block(x, told_BE, last, "middle")
        if c.form == "classifier":
            pooled_BC = jnp.mean(nn.silu(Norm(c.groups, name="norm")(x)), axis=(1, 2))
            self.sow("intermediates", "features", pooled_BC)  # for `classifier.features_of`
            return Dense(c.condition.size, ("embed", "classes"), zero=True, name="out")(pooled_BC)
        for place in reversed(range(len(c.widths))):
            for number in range(c.blocks + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._block(x, told_BE, place, f"up_{place}_{number}")
            if place:
                x = Conv(c.widths[place - 1], ("embed", None), name=f"grow_{place}")(doubled(x))
        x = nn.silu(Norm(c.groups, name="norm")(x))
        # E = ||f||^2 / 2 has no gradient in the parameters where f and its slope are 0
        x = Conv(c.shape[-1] * c.patch**2, ("embed", "features"), zero=c.form != "l2", name="out")(x)
        return unpatched(x, c.patch)

    def _told(self, level_B: jax.Array, condition: Any, present_B: jax.Array) -> jax.Array:
        c = self.config
        told_BE = Dense(4 * c.level_width, name="level")(sines(level_B * (1000.0 / c.schedule.levels), c.level_width))
        if c.condition.kind != "none" and c.form != "classifier":
            given_BE = Condition(c.condition, name="condition")(condition, present_B)
            told_BE = told_BE + Dense(4 * c.level_width, name="given")(given_BE)
        return nn.silu(Dense(4 * c.level_width, ("mlp", "embed"), name="told")(nn.silu(told_BE)))

    def _block(self, x: jax.Array, told_BE: jax.Array, place: int, name: str) -> jax.Array:
        c = self.config
        x = ConvBlock(c.widths[place], math.gcd(c.groups, x.shape[-1]), name=name)(x, told_BE)
        return ImageAttention(c.heads, c.groups, name=f"{name}_attention")(x) if place in c.attention else x


def sines(number_B: jax.Array, width: int) -> jax.Array:
    """Sines and cosines of a number at periods that grow geometrically; float32 [B, width] (Vaswani et al. 2017)."""
    half = -(-width // 2)
    rates_E = jnp.exp(-math.log(LONGEST) * jnp.arange(half) / half)
    angles_BE = number_B[:, None] * rates_E[None]
    return jnp.concatenate([jnp.cos(angles_BE), jnp.sin(angles_BE)], axis=-1)[:, :width]


def patched(x_BHWC: jax.Array, patch: int) -> jax.Array:
    """An image whose positions are squares of pixels; [B, H, W, C] to [B, H / patch, W / patch, patch * patch * C]."""
    batch, height, width, channels = x_BHWC.shape
    parts = x_BHWC.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return parts.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // patch, width // patch, -1)


def unpatched(x_BHWC: jax.Array, patch: int) -> jax.Array:
    """The image that `patched` was given."""
    batch, height, width, channels = x_BHWC.shape
    parts = x_BHWC.reshape(batch, height, width, patch, patch, channels // patch**2)
    return parts.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * patch, width * patch, -1)


def halved(x_BHWC: jax.Array) -> jax.Array:
    """An image of half the height and width: means of 2 x 2 pixels."""
    batch, height, width, channels = x_BHWC.shape
    return jnp.mean(x_BHWC.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def doubled(x_BHWC: jax.Array) -> jax.Array:
    """An image of twice the height and width: each pixel 2 x 2 times."""
    batch, height, width, channels = x_BHWC.shape
    wide = jnp.broadcast_to(x_BHWC[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return wide.reshape(batch, 2 * height, 2 * width, channels)
