"""From loss differences of antithetic pairs to a gradient. N = workers, S = trajectories of a worker."""

import jax
import jax.numpy as jnp

from models.evolution.config import EvolutionConfig


def weights(config: EvolutionConfig, difference_N: jax.Array, steps_N: jax.Array) -> jax.Array:
    """What each worker's perturbation is multiplied with, before the division by 2 sigma^2 and by all steps.

    Args:
        config: its `clip` and `sign` act on the mean difference.
        difference_N: sums over steps of L(+) - L(-), float [N].
        steps_N: over how many steps, int32 [N]; 0 gives 0.

    Returns:
        sums of differences, or of what clipping and signs make of each worker's mean; float [N].
    """
    if not (config.clip or config.sign):
        return difference_N
    steps_N = steps_N.astype(difference_N.dtype)
    mean_N = difference_N / jnp.maximum(steps_N, 1)
    if config.clip:
        mean_N = jnp.clip(mean_N, -config.clip, config.clip)
    if config.sign:
        mean_N = jnp.sign(mean_N)
    return mean_N * steps_N


def scale(config: EvolutionConfig, counted: jax.Array, mean_losses_SN: jax.Array, used_N: jax.Array) -> jax.Array:
    """The factor of the weighted sum: 1 / (2 sigma^2 steps), times sigma / std of the mean losses where wanted.

    Args:
        config: sigma and `normalize_loss`.
        counted: steps that count, over all workers, int32 []; 0 gives 0.
        mean_losses_SN: of each trajectory of the pairs over the window, float [2, N].
        used_N: workers whose losses count for the standard deviation, bool [N].
    """
    factor = jnp.where(counted > 0, 1 / (2 * config.sigma**2 * jnp.maximum(counted, 1)), 0.0)
    if not config.normalize_loss:
        return factor
    used_SN = jnp.broadcast_to(used_N[None], mean_losses_SN.shape)
    deviation = jnp.std(mean_losses_SN, where=used_SN)
    # all losses alike: their differences are 0 too, and 0 is the estimate
    return factor * jnp.where(deviation > 0, config.sigma / jnp.where(deviation > 0, deviation, 1.0), 0.0)
