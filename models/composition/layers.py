"""The pieces that diffusion networks are made of, each parameter with the logical axis names that T5X partitions by.

All are smooth: energies are differentiated twice. B = batch, C = channels, X = the shape of a point.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

EPSILON = 1e-5  # of norms, as in the notebook's


class Dense(nn.Module):
    """A matrix and a bias on the last axis.

    Attributes:
        features: of the output.
        axes: logical names of the kernel's axes.
        zero: whether the kernel begins as zeros, so that a block begins as the identity.
    """

    features: int
    axes: Any = ("embed", "mlp")
    zero: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Transforms; float32 [..., inputs] to float32 [..., features]."""
        inputs = x.shape[-1]
        first = nn.initializers.zeros if self.zero else nn.initializers.truncated_normal(inputs**-0.5)
        kernel = partitioning.param_with_axes("kernel", first, (inputs, self.features), axes=self.axes)
        bias = partitioning.param_with_axes("bias", nn.initializers.zeros, (self.features,), axes=self.axes[1:])
        y = jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
        return y + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class Conv(nn.Module):
    """A convolution that keeps an image's size.

    Attributes:
        features: channels of the output.
        axes: logical names of the kernel's last two axes.
        size: of the window, odd.
        zero: whether the kernel begins as zeros.
    """

    features: int
    axes: Any = ("embed", "mlp")
    size: int = 3
    zero: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Convolves; float32 [B, H, W, inputs] to float32 [B, H, W, features]."""
        inputs = x_BHWC.shape[-1]
        axes: Any = (None, None, *self.axes)
        shape = (self.size, self.size, inputs, self.features)
        spread = (self.size * self.size * inputs) ** -0.5
        first = nn.initializers.zeros if self.zero else nn.initializers.truncated_normal(spread)
        kernel = partitioning.param_with_axes("kernel", first, shape, axes=axes)
        bias = partitioning.param_with_axes("bias", nn.initializers.zeros, (self.features,), axes=self.axes[1:])
        y_BHWC = _shifted_products(x_BHWC, kernel) if _on_cpu() else _convolved(x_BHWC, kernel)
        return y_BHWC + bias[None, None, None]


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _convolved(x_BHWC: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x_BHWC, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _shifted_products(x_BHWC: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same as a sum of matrix products, one for each place of the window.

    XLA's convolutions on CPUs are slow where they are differentiated and in loops: an energy's training step in a scan
    took 4,485 ms with them, and 132 ms with this (jaxlib 0.10.2, 384 images of 8 x 8 x 32).
    """
    size, half = kernel.shape[0], kernel.shape[0] // 2
    batch, height, width, inputs = x_BHWC.shape
    padded = jnp.pad(x_BHWC, ((0, 0), (half, half), (half, half), (0, 0)))
    products = [
        padded[:, down : down + height, right : right + width].reshape(-1, inputs) @ kernel[down, right]
        for down in range(size)
        for right in range(size)
    ]
    return sum(products[1:], products[0]).reshape(batch, height, width, -1)


class Norm(nn.Module):
    """Mean 0 and variance 1 over all positions and each group of channels, then a learned scale and shift.

    With one group and no positions it is layer norm.
    """

    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises; float32 [B, ..., C] to the same shape."""
        channels = x.shape[-1]
        scale = partitioning.param_with_axes("scale", nn.initializers.ones, (channels,), axes=("embed",))
        shift = partitioning.param_with_axes("shift", nn.initializers.zeros, (channels,), axes=("embed",))
        parts = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), self.groups, channels // self.groups)
        centred = parts - jnp.mean(parts, axis=(1, 3), keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=(1, 3), keepdims=True)
        whole = (centred * jax.lax.rsqrt(variance + EPSILON)).reshape(x.shape)
        spread = (1,) * (x.ndim - 1) + (channels,)
        return whole * scale.reshape(spread) + shift.reshape(spread)


class Table(nn.Module):
    """A learned vector for each of some numbers.

    Attributes:
        count: of the numbers, from 0.
        features: of a vector.
        deviation: of the first values.
    """

    count: int
    features: int
    deviation: float = 1.0

    @nn.compact
    def __call__(self, numbers: jax.Array) -> jax.Array:
        """Looks up; int32 [...] to float32 [..., features]."""
        axes: Any = (None, "embed")
        first = nn.initializers.normal(self.deviation)
        table = partitioning.param_with_axes("table", first, (self.count, self.features), axes=axes)
        return jnp.asarray(table)[numbers]


class Attention(nn.Module):
    """Self-attention over positions.

    Attributes:
        heads: they divide the channels.
        zero: whether what it adds begins as zeros.
    """

    heads: int
    zero: bool = True

    @nn.compact
    def __call__(self, x_BLC: jax.Array, seen_BL: jax.Array | None = None) -> jax.Array:
        """Mixes positions; float32 [B, L, C] to the same shape; `seen_BL`: bool, which positions are read."""
        batch, length, channels = x_BLC.shape
        per_head = (batch, length, self.heads, channels // self.heads)
        query, key, value = (
            Dense(channels, ("embed", "mlp"), name=name)(x_BLC).reshape(per_head) for name in ("query", "key", "value")
        )
        logits_BHLM = jnp.einsum("blhk,bmhk->bhlm", query, key) * per_head[-1] ** -0.5
        if seen_BL is not None:
            logits_BHLM = jnp.where(seen_BL[:, None, None], logits_BHLM, -1e9)
        mixed = jnp.einsum("bhlm,bmhk->blhk", jax.nn.softmax(logits_BHLM), value).reshape(x_BLC.shape)
        return Dense(channels, ("mlp", "embed"), zero=self.zero, name="out")(mixed)
