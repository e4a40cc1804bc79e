"""A perceptron that predicts the next symbol from the few before it: an embedding a place, hidden layers, a readout.

`models.parameterization.mlp` multiplies a vector by its first matrix; here that vector would be one-hot, and looking
rows up is several times cheaper than the product. B = batch, P = places, V = symbols, n = width.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from shammie.errors import UserError


@dataclass(frozen=True)
class ByteMLPConfig:
    """Sizes.

    Attributes:
        symbols: V, of input and output.
        places: P, symbols that are read.
        width: n, of every layer but the last.
        hidden: matrices from width to width.
    """

    symbols: int = 32
    places: int = 3
    width: int = 64
    hidden: int = 2

    def __post_init__(self) -> None:
        for name in ("symbols", "places", "width", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"ByteMLPConfig.{name} is {getattr(self, name)}", "give at least 1")


@jax.custom_vjp
def product(x_BI: jax.Array, kernel_IO: jax.Array) -> jax.Array:
    """The matrix product, with a gradient that XLA has a fast routine for on CPUs.

    It contracts the first axis of both in the kernel's gradient, for which that routine does not serve; of many small
    networks at a time that took a quarter of the step. A copied transpose, which nothing may undo, is cheap.
    """
    return x_BI @ kernel_IO


def _product_forward(x_BI: jax.Array, kernel_IO: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x_BI @ kernel_IO, (x_BI, kernel_IO)


def _product_backward(saved: tuple[jax.Array, jax.Array], gradient_BO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_BI, kernel_IO = saved
    return gradient_BO @ kernel_IO.T, jax.lax.optimization_barrier(x_BI.T) @ gradient_BO


product.defvjp(_product_forward, _product_backward)


def _dense(features: int, name: str) -> nn.Dense:
    """A layer of matrices alone, drawn by fan-in."""
    by_fan_in = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    dot: Any = lambda x, kernel, dimensions, **_: product(x, kernel)  # noqa: E731
    return nn.Dense(features, use_bias=False, kernel_init=by_fan_in, dot_general=dot, name=name)


class PlaceEmbedding(nn.Module):
    """The sum of a row for each place, each place with its own table."""

    config: ByteMLPConfig

    @nn.compact
    def __call__(self, symbols_BP: jax.Array) -> jax.Array:
        """Looks up; int [B, P] to float32 [B, n], whose entries have variance 1 at first."""
        c = self.config
        table_PVn = self.param("table", nn.initializers.normal(c.places**-0.5), (c.places, c.symbols, c.width))
        # added up one by one: XLA's reduction over a short axis costs more than the look-up
        total_Bn = table_PVn[0][symbols_BP[:, 0]]
        for place in range(1, c.places):
            total_Bn += table_PVn[place][symbols_BP[:, place]]
        return total_Bn


class ByteMLP(nn.Module):
    """Symbols to logits of the next; layers without biases, drawn by fan-in: Standard parameterization."""

    config: ByteMLPConfig

    @nn.compact
    def __call__(self, symbols_BP: jax.Array) -> jax.Array:
        """Predicts; int [B, P] to float32 [B, V]."""
        c = self.config
        x_Bn = jnp.tanh(PlaceEmbedding(c, name="embedding")(symbols_BP))
        for layer in range(c.hidden):
            x_Bn = jnp.tanh(_dense(c.width, f"hidden_{layer}")(x_Bn))
        return _dense(c.symbols, "readout")(x_Bn)


def byte_mlp_roles(config: ByteMLPConfig) -> dict[str, dict[str, str]]:
    """The role of each parameter."""
    hidden = {f"hidden_{layer}": {"kernel": "hidden"} for layer in range(config.hidden)}
    return {"embedding": {"table": "embedding"}, **hidden, "readout": {"kernel": "readout"}}


def draw_byte_mlp(config: ByteMLPConfig, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """First values, drawn by NumPy from the distributions that the network's own init draws from.

    A draw by JAX takes half a second to compile for each width, which is as long as a column of small trainings runs.

    Args:
        config: sizes.
        seed: the same seed and sizes give the same float32 values.
    """
    draw = np.random.Generator(np.random.Philox(seed)).standard_normal
    c = config
    by_fan_in = np.float32(c.width**-0.5)
    table = draw((c.places, c.symbols, c.width), np.float32) * np.float32(c.places**-0.5)
    hidden = {f"hidden_{one}": {"kernel": draw((c.width, c.width), np.float32) * by_fan_in} for one in range(c.hidden)}
    return {
        "embedding": {"table": table},
        **hidden,
        "readout": {"kernel": draw((c.width, c.symbols), np.float32) * by_fan_in},
    }
