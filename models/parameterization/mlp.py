"""A multilayer perceptron with one layer of each role, the smallest network that parameterizations differ on."""

from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.parameterization.parameterized import Parameterized
from models.parameterization.scaling import ParameterizationConfig
from shammie.errors import UserError, unknown

ACTIVATIONS = {"tanh": jnp.tanh, "relu": nn.relu, "identity": lambda x: x}


@dataclass(frozen=True)
class MLPConfig:
    """Sizes of a perceptron.

    Attributes:
        inputs: I, of an example.
        width: n, of every layer but the last.
        layers: matrices in all, at least 2: the embedding, layers - 2 hidden ones and the readout.
        outputs: O.
        activation: of all layers but the last.
        dtype: of parameters and activations; "float64" needs `jax_enable_x64`.
    """

    inputs: int = 16
    width: int = 64
    layers: int = 3
    outputs: int = 1
    activation: Literal["tanh", "relu", "identity"] = "tanh"
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        for name, least in (("inputs", 1), ("width", 1), ("layers", 2), ("outputs", 1)):
            if getattr(self, name) < least:
                raise UserError(f"MLPConfig.{name} is {getattr(self, name)}", f"give at least {least}")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if self.dtype not in ("float32", "float64"):
            raise unknown("dtype", self.dtype, ("float32", "float64"))


class MLP(nn.Module):
    """Layers without biases, drawn by fan-in, N(0, 1 / inputs): Standard parameterization."""

    config: MLPConfig

    @nn.compact
    def __call__(self, x_BI: jax.Array) -> jax.Array:
        """Computes; float [B, I] to float [B, O]."""
        c = self.config
        dtype = jnp.dtype(c.dtype)
        x = x_BI.astype(dtype)
        for layer, name in enumerate(layer_names(c)):
            features = c.outputs if layer == c.layers - 1 else c.width
            fan_in = x.shape[-1]
            kernel = self.param(name, nn.initializers.normal(fan_in**-0.5), (fan_in, features), dtype)
            x = x @ kernel
            if layer < c.layers - 1:
                x = ACTIVATIONS[c.activation](x)
        return x


def layer_names(config: MLPConfig) -> list[str]:
    """The parameters' names in the order of layers."""
    return ["embedding", *(f"hidden_{layer}" for layer in range(config.layers - 2)), "readout"]


def mlp_roles(config: MLPConfig) -> dict[str, Any]:
    """The role of each parameter."""
    return {name: name.split("_")[0] for name in layer_names(config)}


def parameterized_mlp(config: MLPConfig, parameterization: ParameterizationConfig) -> Parameterized:
    """The perceptron under a parameterization."""
    return Parameterized(MLP(config), parameterization, width=config.width, roles=mlp_roles(config))
