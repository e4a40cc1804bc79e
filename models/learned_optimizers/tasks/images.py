"""Generated images: every world has its own classes of smooth patterns, shifted and under noise. B = batch, S = side.

No data set is needed: a world is drawn from a key, and has as many images as one wants.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from shammie.errors import UserError


@dataclass(frozen=True)
class ImageConfig:
    """What images are like.

    Attributes:
        side: S, pixels.
        classes: C.
        shift: the most pixels that a pattern is moved by, along each axis, around the edges.
        noise: standard deviation of the noise; patterns are scaled so that pixels have a mean square of 1.
        batch_size: B.
    """

    side: int = 8
    classes: int = 10
    shift: int = 1
    noise: float = 0.6
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name, least in (("side", 2), ("classes", 2), ("shift", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UserError(f"ImageConfig.{name} is {getattr(self, name)}", f"give at least {least}")
        if not 0 <= self.noise <= 1:
            raise UserError(f"ImageConfig.noise is {self.noise}", "give a number from 0 to 1")


class Images(NamedTuple):
    """A batch: pixels, float32 [B, S, S, 1], and classes, int32 [B]."""

    pixels: jax.Array
    labels: jax.Array


def patterns(config: ImageConfig, key: jax.Array) -> jax.Array:
    """A world: the pattern of each class, blurred noise of mean 0 and mean square 1; float32 [C, S, S]."""
    x_CSS = jax.random.normal(key, (config.classes, config.side, config.side))
    for axis in (1, 2):
        x_CSS = (jnp.roll(x_CSS, 1, axis) + 2 * x_CSS + jnp.roll(x_CSS, -1, axis)) / 4
    x_CSS = x_CSS - jnp.mean(x_CSS, axis=(1, 2), keepdims=True)
    return x_CSS * jax.lax.rsqrt(jnp.mean(jnp.square(x_CSS), axis=(1, 2), keepdims=True))


def images(config: ImageConfig, patterns_CSS: jax.Array, key: jax.Array) -> Images:
    """A fresh batch of a world's images."""
    choice_key, noise_key = jax.random.split(key)
    rows, side, shifts = config.batch_size, config.side, 2 * config.shift + 1
    # one draw for three choices: each draw is as much again to compile
    uniform_3B1 = jax.random.uniform(choice_key, (3, rows, 1))
    labels_B = jnp.floor(uniform_3B1[0, :, 0] * config.classes).astype(jnp.int32)
    shift_2B1 = jnp.floor(uniform_3B1[1:] * shifts).astype(jnp.int32) - config.shift
    y_BS, x_BS = (shift_2B1 + jnp.arange(side)[None, None]) % side
    seen_BSS = patterns_CSS[labels_B[:, None, None], y_BS[:, :, None], x_BS[:, None, :]]
    noise_BSS = jax.random.normal(noise_key, seen_BSS.shape)
    pixels_BSS = math.sqrt(1 - config.noise**2) * seen_BSS + config.noise * noise_BSS
    return Images(pixels_BSS[..., None], labels_B)
