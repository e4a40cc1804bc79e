"""Tasks on generated images: a perceptron and a convolutional network that classify, and an autoencoder."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.learned_optimizers.tasks.images import ImageConfig, Images, images, patterns
from models.learned_optimizers.tasks.task import Task
from models.training.losses import cross_entropy
from shammie.errors import UserError, unknown

ACTIVATIONS = {"relu": nn.relu, "tanh": jnp.tanh, "gelu": nn.gelu, "silu": nn.silu}
Activation = Literal["relu", "tanh", "gelu", "silu"]

# Readouts begin a tenth as large as other layers, so that first losses are those of no knowledge
READOUT_SCALE = 0.1
readout_init = nn.initializers.variance_scaling(READOUT_SCALE**2, "fan_in", "truncated_normal")


@dataclass(frozen=True)
class ImageTaskConfig:
    """Images, and the network that is trained on them.

    Attributes:
        data: of the images.
        widths: of the hidden layers, or channels of the convolutions, which halve the image; the narrowest of an
            autoencoder's is its code.
        activation: between layers.
    """

    data: ImageConfig = field(default_factory=ImageConfig)
    widths: tuple[int, ...] = (32,)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if min(self.widths, default=1) < 1:
            raise UserError(f"ImageTaskConfig.widths are {self.widths}", "give numbers of at least 1")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)


class Perceptron(nn.Module):
    """Dense layers with biases.

    Attributes:
        widths: of the hidden layers.
        outputs: O.
        activation: between layers.
    """

    widths: tuple[int, ...]
    outputs: int
    activation: str

    @nn.compact
    def __call__(self, x_BI: jax.Array) -> jax.Array:
        """Computes; float [B, I] to float [B, O]."""
        for layer, width in enumerate(self.widths):
            x_BI = ACTIVATIONS[self.activation](nn.Dense(width, name=f"hidden_{layer}")(x_BI))
        return nn.Dense(self.outputs, kernel_init=readout_init, name="readout")(x_BI)


class HalvingConvolution(nn.Module):
    """A 3 x 3 convolution of stride 2 over an image with a border of zeros.

    It is written as a matrix product over patches: with a kernel for each worker of a vmap, XLA's own convolution
    becomes a grouped one, and the gradients of 16 to 64 such networks take `flax.linen.Conv` three times as long.

    Attributes:
        channels: D, of its output.
    """

    channels: int

    @nn.compact
    def __call__(self, x_BSSC: jax.Array) -> jax.Array:
        """Convolves; float [B, S, S, C] to float [B, (S + 1) // 2, (S + 1) // 2, D]."""
        side, inputs = x_BSSC.shape[2:]
        kernel_33CD = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, inputs, self.channels))
        bias_D = self.param("bias", nn.initializers.zeros, (self.channels,))
        padded = jnp.pad(x_BSSC, ((0, 0), (1, 1), (1, 1), (0, 0)))
        parts = [padded[:, i : i + side : 2, j : j + side : 2] for i in range(3) for j in range(3)]
        product = jnp.concatenate(parts, axis=-1) @ kernel_33CD.reshape(9 * inputs, self.channels)
        return product + bias_D.reshape(1, 1, 1, -1)


class ConvolutionalNetwork(nn.Module):
    """Halving convolutions, the mean over what is left of the image, and a readout.

    Attributes:
        channels: of the convolutions.
        outputs: O.
        activation: after each convolution.
    """

    channels: tuple[int, ...]
    outputs: int
    activation: str

    @nn.compact
    def __call__(self, x_BSSC: jax.Array) -> jax.Array:
        """Computes; float [B, S, S, C] to float [B, O]."""
        for layer, channels in enumerate(self.channels):
            x_BSSC = ACTIVATIONS[self.activation](HalvingConvolution(channels, name=f"convolution_{layer}")(x_BSSC))
        pooled_BC = jnp.mean(x_BSSC, axis=(1, 2))
        return nn.Dense(self.outputs, kernel_init=readout_init, name="readout")(pooled_BC)


@functools.cache
def image_mlp(config: ImageTaskConfig = ImageTaskConfig()) -> Task:
    """A perceptron that classifies images; the loss is the mean cross-entropy in nats, first log(classes)."""
    network = Perceptron(config.widths, config.data.classes, config.activation)

    def logits_of(params: Any, batch: Images) -> Any:
        return network.apply({"params": params}, _flat(batch.pixels))

    shape = (1, config.data.side**2)
    return _image_task("image_mlp", config, network, shape, _classification(logits_of), math.log(config.data.classes))


@functools.cache
def image_conv(config: ImageTaskConfig = ImageTaskConfig(widths=(8, 16))) -> Task:
    """A convolutional network that classifies images, as `image_mlp` does."""
    network = ConvolutionalNetwork(config.widths, config.data.classes, config.activation)

    def logits_of(params: Any, batch: Images) -> Any:
        return network.apply({"params": params}, batch.pixels)

    shape = (1, config.data.side, config.data.side, 1)
    return _image_task("image_conv", config, network, shape, _classification(logits_of), math.log(config.data.classes))


@functools.cache
def autoencoder(config: ImageTaskConfig = ImageTaskConfig(widths=(32, 8, 32))) -> Task:
    """An autoencoder of images; the loss is the mean squared error of pixels, first 1, their mean square.

    The readout adds READOUT_SCALE^2 times the mean square of the last hidden layer to that, at most 1 %.
    """
    network = Perceptron(config.widths, config.data.side**2, config.activation)

    def loss(world: jax.Array, params: Any, batch: Images) -> jax.Array:
        del world
        x_BI = _flat(batch.pixels)
        found_BI: Any = network.apply({"params": params}, x_BI)
        return jnp.mean(jnp.square(found_BI.astype(jnp.float32) - x_BI.astype(jnp.float32)))

    return _image_task("autoencoder", config, network, (1, config.data.side**2), loss, 1.0)


def _flat(pixels: jax.Array) -> jax.Array:
    return pixels.reshape(pixels.shape[0], -1)


def _classification(logits_of: Callable[[Any, Images], Any]) -> Callable[[Any, Any, Images], jax.Array]:
    def loss(world: jax.Array, params: Any, batch: Images) -> jax.Array:
        del world
        return jnp.mean(cross_entropy(logits_of(params, batch), batch.labels)[0])

    return loss


def _image_task(
    name: str, config: ImageTaskConfig, network: nn.Module, shape: tuple[int, ...], loss: Any, first_loss: float
) -> Task:
    def init(world: jax.Array, key: jax.Array) -> Any:
        del world
        return network.init(key, jnp.zeros(shape))["params"]

    draw, batch = functools.partial(patterns, config.data), functools.partial(images, config.data)
    return Task(name, draw, init, batch, loss, first_loss, config.data.batch_size)
