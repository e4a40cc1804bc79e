"""Training by denoising: noised points made from a few numbers, and the error of the noise predicted in them.

A row is two numbers, the training's seed and a draw; example, level, noise and whether the condition is told are all
made of them on the device. Draws from 0 on are for training, those below 0 held out. B = batch, X = shape of a point.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.classifier import classifier_loss
from models.composition.diffusion import noise_of
from models.composition.diffusion_config import DiffusionConfig
from models.composition.schedule import NoiseSchedule
from models.training import LossFunction, Metrics, Params, average

ROW = 2  # numbers of a row: seed, draw
Draw = Callable[[jax.Array, Any, jax.Array], tuple[jax.Array, Any]]


class Noised(NamedTuple):
    """A batch.

    Attributes:
        x_BX: noised points, float32.
        level_B: of each, int32.
        noise_BX: that they were made with, standard normal.
        condition: of each, a pytree of arrays [B, …]; None without.
        present_B: bool, whether the condition is told.
    """

    x_BX: jax.Array
    level_B: jax.Array
    noise_BX: jax.Array
    condition: Any
    present_B: jax.Array


def rows_of(seed: int, first: int, count: int) -> np.ndarray:
    """The rows of a training's draws `first` to first + count - 1; int32 [count, 2]."""
    return np.stack([np.full(count, seed, np.int32), np.arange(first, first + count, dtype=np.int32)], axis=1)


def held_out_rows(count: int, first: int = 0) -> np.ndarray:
    """Rows that no training has, the same for every seed; int32 [count, 2]."""
    return np.stack([np.zeros(count, np.int32), -1 - np.arange(first, first + count, dtype=np.int32)], axis=1)


def keys_of(rows_B2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The keys of some rows, int32 [B, 2]: those of their examples, and those of their levels and noise; [B] each."""
    both = lambda row: jax.random.split(jax.random.fold_in(jax.random.key(row[0]), row[1]))  # noqa: E731
    keys_B2 = jax.vmap(both)(rows_B2)
    return keys_B2[:, 0], keys_B2[:, 1]


def noised_batch(
    schedule: NoiseSchedule, x_BX: jax.Array, condition: Any, keys_B: jax.Array, untold: float = 0.0
) -> Noised:
    """Points at random levels.

    Args:
        schedule: the noise.
        x_BX: points without noise, float32.
        condition: of each, [B, …]; None without.
        keys_B: one for each.
        untold: how often the condition is left out, for the unconditional model.
    """

    def one(key: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        level_key, noise_key, told_key = jax.random.split(key, 3)
        level = jax.random.randint(level_key, (), 0, schedule.levels)
        noise = jax.random.normal(noise_key, x.shape)
        return schedule.noised(x, level, noise), level, noise, jax.random.uniform(told_key) >= untold

    noised_BX, level_B, noise_BX, present_B = jax.vmap(one)(keys_B, x_BX)
    return Noised(noised_BX, level_B, noise_BX, condition, present_B)


def drawn_batch(schedule: NoiseSchedule, draw: Draw, resident: Any, rows_B2: jax.Array, untold: float = 0.0) -> Noised:
    """The batch of some rows.

    Args:
        schedule: the noise.
        draw: (key, resident, whether held out) to a point and its condition (`sources.source_of`).
        resident: what it reads.
        rows_B2: of `rows_of` or `held_out_rows`.
        untold: as `noised_batch` has it.
    """
    examples_B, noises_B = keys_of(rows_B2)
    x_BX, condition = jax.vmap(lambda key, held_out: draw(key, resident, held_out))(examples_B, rows_B2[:, 1] < 0)
    return noised_batch(schedule, x_BX, condition, noises_B, untold)


def denoising_loss(config: DiffusionConfig) -> LossFunction:
    """The mean squared error of the predicted noise, over all numbers of all points (Ho et al. 2020, eq. 14).

    Each level's is weighted as `DiffusionConfig.weighting` says. Of a classifier it is `classifier.classifier_loss`.

    Returns:
        (params, batch) -> the loss, and metrics with `loss` among them, the error without weights. A batch is `Noised`.
    """
    if config.form == "classifier":
        return classifier_loss(config)

    def loss_function(params: Params, batch: Noised) -> tuple[jax.Array, Metrics]:
        told = (None, None) if config.condition.kind == "none" else (batch.condition, batch.present_B)
        errors_BX = jnp.square(noise_of(config, params, batch.x_BX, batch.level_B, *told) - batch.noise_BX)
        total = jnp.sum(errors_BX)
        metrics = {"loss": average(total, errors_BX.size)}
        if not config.weighting:
            return total / errors_BX.size, metrics
        weights_B = jnp.asarray(level_weights(config), jnp.float32)[batch.level_B]
        by_point_B = jnp.mean(errors_BX, axis=tuple(range(1, errors_BX.ndim)))
        return jnp.mean(weights_B * by_point_B), metrics

    return loss_function


def level_weights(config: DiffusionConfig) -> np.ndarray:
    """What each level's error is multiplied by in training: 1 on average over levels; float64 [T]."""
    weights_T = config.schedule.noise_variances_T**config.weighting
    return weights_T / weights_T.mean()
