"""The pieces blocks are made of, each parameter with the logical axis names that T5X partitions by."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning
from flax.linen.spmd import with_logical_constraint

from models.lm.config import LMConfig


def as_type(x: jax.Array, dtype: str) -> jax.Array:
    """The array in an activation type given by name."""
    return x.astype(jnp.dtype(dtype))


class Projection(nn.Module):
    """A matrix without bias from the last axes of its input to new ones.

    Attributes:
        features: sizes of the new axes.
        axes: logical names of the kernel's axes, contracted ones first.
        contracted: how many of the input's last axes are contracted.
        dtype: the type of the product.
    """

    features: Sequence[int]
    axes: tuple[str, ...]
    contracted: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Projects; float [..., *inputs] to float [..., *features]."""
        inputs = x.shape[x.ndim - self.contracted :]
        kernel = partitioning.param_with_axes(
            "kernel",
            nn.initializers.normal(math.prod(inputs) ** -0.5),
            (*inputs, *self.features),
            axes=self.axes,
        )
        contract = tuple(range(x.ndim - self.contracted, x.ndim)), tuple(range(self.contracted))
        return jax.lax.dot_general(as_type(x, self.dtype), as_type(kernel, self.dtype), (contract, ((), ())))


class RMSNorm(nn.Module):
    """Division by the root mean square of the last axis, times a learned scale (arXiv:1910.07467)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises in float32; float [..., D] to the same shape and type."""
        scale = partitioning.param_with_axes("scale", nn.initializers.ones, (x.shape[-1],), axes=("embed",))
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-6)
        return (wide * scale.reshape((1,) * (x.ndim - 1) + scale.shape)).astype(x.dtype)


class GatedMLP(nn.Module):
    """ReLU(x W) * (x V), projected back: three matrices, which is what the paper's parameter counts imply."""

    config: LMConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Transforms each position; float [B, L, D] to float [B, L, D]."""
        c = self.config
        gate = nn.relu(Projection((c.mlp_width,), ("embed", "mlp"), dtype=c.dtype, name="gate")(x_BLD))
        linear = Projection((c.mlp_width,), ("embed", "mlp"), dtype=c.dtype, name="linear")(x_BLD)
        hidden = with_logical_constraint(gate * linear, ("batch", "length", "mlp"))
        return Projection((c.width,), ("mlp", "embed"), dtype=c.dtype, name="out")(hidden)
