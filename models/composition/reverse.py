"""Reverse steps, from a level to the one below: ancestral sampling and DDIM.

They invert the noising of one data density. A product of densities is none whose noising is the product of theirs, so
on compositions they are wrong however small the steps: for k equal Gaussians of variance s^2 they give s^2 / (2k - 1),
not s^2 / k. DDIM without noise leaves s^2k abar^(k-1) / v^k of the noisiest level's abar and v = abar s^2 + 1 - abar: a
point, where that level has lost the data. X = the shape of a point, T levels. A step from level 0 leads to the clean
point.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule

ReverseStep = Callable[[jax.Array, jax.Array, jax.typing.ArrayLike, jax.Array], jax.Array]


def reverse_step(config: SamplerConfig, schedule: NoiseSchedule) -> ReverseStep:
    """A config's step: (x [X], score there [X], level [], standard normal noise [X]) to a point of the level below.

    The noise is not used at level 0.

    Args:
        config: of kind "ddim" for DDIM, else ancestral; `variance`, `eta` and `bound` are read.
        schedule: the noise.
    """
    return ddim(config, schedule) if config.kind == "ddim" else ancestral(config, schedule)


def ancestral(config: SamplerConfig, schedule: NoiseSchedule) -> ReverseStep:
    """One step of p(x_{t-1} | x_t) (Ho et al. 2020, eq. 11): mean (x + beta score) / sqrt(1 - beta).

    Arguments and result as of `reverse_step`.
    """
    below_T, noise_below_T = _below(schedule)
    variances_T = schedule.betas_T.copy()
    if config.variance == "posterior":
        variances_T *= noise_below_T / schedule.noise_variances_T
    variances_T[0] = 0.0
    keep_T = _array(1.0 / np.sqrt(1.0 - schedule.betas_T))
    deviation_T = _array(np.sqrt(variances_T))
    clean_T = _array(np.sqrt(below_T) * schedule.betas_T / schedule.noise_variances_T)
    stay_T = _array(np.sqrt(1.0 - schedule.betas_T) * noise_below_T / schedule.noise_variances_T)

    def step(x: jax.Array, score: jax.Array, level: jax.typing.ArrayLike, noise: jax.Array) -> jax.Array:
        if config.bound is None:
            mean = keep_T[level] * (x + schedule.beta(level) * score)
        else:
            mean = clean_T[level] * clean_of(schedule, x, score, level, config.bound) + stay_T[level] * x
        return mean + deviation_T[level] * noise

    return step


def ddim(config: SamplerConfig, schedule: NoiseSchedule) -> ReverseStep:
    """One step of DDIM (Song et al. 2021, eq. 12): the clean point, noised by the noise that was predicted.

    Arguments and result as of `reverse_step`.
    """
    below_T, noise_below_T = _below(schedule)
    variances_T = config.eta**2 * schedule.betas_T * noise_below_T / schedule.noise_variances_T  # 0 at level 0
    signal_T, deviation_T = _array(np.sqrt(below_T)), _array(np.sqrt(variances_T))
    noise_T = _array(np.sqrt(np.maximum(noise_below_T - variances_T, 0.0)))

    def step(x: jax.Array, score: jax.Array, level: jax.typing.ArrayLike, noise: jax.Array) -> jax.Array:
        clean = clean_of(schedule, x, score, level, config.bound)
        if config.bound is None:
            predicted = -schedule.noise(level) * score
        else:
            predicted = (x - schedule.signal(level) * clean) / schedule.noise(level)
        return signal_T[level] * clean + noise_T[level] * predicted + deviation_T[level] * noise

    return step


def clean_of(
    schedule: NoiseSchedule, x: jax.Array, score: jax.Array, level: jax.typing.ArrayLike, bound: float | None = None
) -> jax.Array:
    """The mean of the clean points that x may have come from: (x + (1 - abar) score) / sqrt(abar) (Tweedie's formula).

    Args:
        schedule: the noise.
        x: a point, [X].
        score: there, [X].
        level: int32 [].
        bound: it is kept within -bound to bound; None leaves it.
    """
    clean = (x + schedule.noise(level) ** 2 * score) / schedule.signal(level)
    return clean if bound is None else jnp.clip(clean, -bound, bound)


def _below(schedule: NoiseSchedule) -> tuple[np.ndarray, np.ndarray]:
    """What abar and 1 - abar are at the level below each, 1 and 0 below level 0; float64 [T] each."""
    below_T = np.concatenate([[1.0], schedule.alpha_bars_T[:-1]])
    return below_T, np.concatenate([[0.0], schedule.noise_variances_T[:-1]])


def _array(values_T: np.ndarray) -> jax.Array:
    return jnp.asarray(values_T, jnp.float32)
