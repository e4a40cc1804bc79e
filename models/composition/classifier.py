"""Classifiers that know noised points: p(c | x_t), whose gradient guides a model (Dhariwal and Nichol 2021).

    scene * likelihood(lambda x, level: log_probability(config, params, x, level, condition), ...) ** weight

B = batch, X = shape of a point, C = classes.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from models.composition.diffusion import network_of, output
from models.composition.diffusion_config import DiffusionConfig
from models.training import LossFunction, Metrics, Params, average, cross_entropy
from shammie.errors import UserError

if TYPE_CHECKING:
    from models.composition.denoising import Noised


def log_probability(
    config: DiffusionConfig, params: Any, x: jax.Array, level: jax.typing.ArrayLike, condition: jax.typing.ArrayLike
) -> jax.Array:
    """The log of p(c | x_t), in nats; float32 [].

    Args:
        config: of the form "classifier".
        params: its parameters.
        x: a noised point, [X].
        level: its level, int32 [].
        condition: c, int32 [].
    """
    logits_C = output(config, params, x[None], jnp.asarray(level, jnp.int32)[None])[0]
    return jax.nn.log_softmax(logits_C)[jnp.asarray(condition)]


def classifier_loss(config: DiffusionConfig) -> LossFunction:
    """The mean nats of the classes of noised points.

    Returns:
        (params, batch) -> the loss, and metrics `loss` and `accuracy`. A batch is `denoising.Noised`.
    """

    def loss_function(params: Params, batch: "Noised") -> tuple[jax.Array, Metrics]:
        logits_BC = output(config, params, batch.x_BX, batch.level_B)
        nats_B, _ = cross_entropy(logits_BC, batch.condition)
        right_B = (jnp.argmax(logits_BC, axis=-1) == batch.condition).astype(jnp.float32)
        metrics = {
            "loss": average(jnp.sum(nats_B), nats_B.size),
            "accuracy": average(jnp.sum(right_B), nats_B.size),
        }
        return jnp.mean(nats_B), metrics

    return loss_function


def features_of(config: DiffusionConfig, params: Any, x_BX: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a U-Net classifier makes of images at the least noisy level.

    Args:
        config: of the form "classifier", on a U-Net.
        params: its parameters.
        x_BX: images.

    Returns:
        The features that its last layer reads, float32 [B, F], and the logits, [B, C].

    Raises:
        UserError: it is no such classifier.
    """
    if config.form != "classifier" or config.network != "unet":
        raise UserError(f"a {config.network!r} of the form {config.form!r} has no features", "give a U-Net classifier")
    level_B, told_B = jnp.zeros(x_BX.shape[0], jnp.int32), jnp.ones(x_BX.shape[0], bool)
    asked: Any = network_of(config).apply({"params": params}, x_BX, level_B, None, told_B, mutable=["intermediates"])
    logits_BC, seen = asked
    return seen["intermediates"]["features"][0], logits_BC
