"""Densities whose noised forms are known exactly: Gaussians and their mixtures, to compose and to test with.

Noise keeps a Gaussian one: N(m, s²) at level t is N(sqrt(abar) m, abar s² + 1 - abar). K = components, D = axes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.density import Density, of_log_density
from models.composition.schedule import NoiseSchedule


def gaussian(mean_D: np.ndarray, deviation: float, schedule: NoiseSchedule, name: str = "gaussian") -> Density:
    """N(mean, deviation² I) at every level, normalised.

    Args:
        mean_D: float [D].
        deviation: of each axis, above 0.
        schedule: the noise.
        name: for people.
    """
    return gaussian_mixture(np.asarray(mean_D)[None], deviation, schedule, name=name)


def gaussian_mixture(
    means_KD: np.ndarray,
    deviation: float,
    schedule: NoiseSchedule,
    weights_K: np.ndarray | None = None,
    name: str = "gaussians",
) -> Density:
    """A mixture of Gaussians of one deviation at every level, normalised.

    Args:
        means_KD: float [K, D].
        deviation: of each axis and component, above 0.
        schedule: the noise.
        weights_K: of the components, positive; None for equal ones.
        name: for people.
    """
    means = np.asarray(means_KD, np.float32)
    count, axes = means.shape
    weights = np.full(count, 1.0 / count) if weights_K is None else np.asarray(weights_K) / np.sum(weights_K)
    log_weights_K = jnp.asarray(np.log(weights), jnp.float32)

    def log_density(x_D: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        variance = schedule.signal(level) ** 2 * deviation**2 + schedule.noise(level) ** 2
        squares_K = jnp.sum((x_D[None] - schedule.signal(level) * means) ** 2, axis=1)
        logs_K = log_weights_K - squares_K / (2.0 * variance) - 0.5 * axes * jnp.log(2.0 * jnp.pi * variance)
        return jax.scipy.special.logsumexp(logs_K)

    return of_log_density(log_density, (axes,), schedule, name)
