"""Noise schedules of variance-preserving diffusion: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, at T levels.

Level 0 has the least noise and level T - 1 the most; there is no clean level. Schedules are computed in float64, as
1 - abar is lost in float32 where noise is faint. T = levels.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from shammie.errors import UserError, unknown

REFERENCE_LEVELS = 1000  # that the linear schedule's betas are given for
MOST_LEVELS = 1_000_000  # a config from outside must not fill the memory


@dataclass(frozen=True)
class NoiseSchedule:
    """A ladder of noise levels.

    Attributes:
        kind: "cosine" (Nichol and Dhariwal 2021, eq. 17: abar_t ~ cos²) or "linear" (Ho et al. 2020: betas from
            `first_beta` to `last_beta`, times 1000 / levels, so that any number of levels ends in as much noise).
        levels: T.
        offset: of the cosine, its s.
        largest_beta: where the cosine's betas end.
        first_beta: of the linear schedule, at 1,000 levels.
        last_beta: likewise.

    Raises:
        UserError: an unknown kind, or numbers that are no schedule.
    """

    kind: str = "cosine"
    levels: int = 100
    offset: float = 0.008
    largest_beta: float = 0.999
    first_beta: float = 1e-4
    last_beta: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("noise schedule", self.kind, KINDS)
        whole = isinstance(self.levels, int) and not isinstance(self.levels, bool)
        if not whole or not 2 <= self.levels <= MOST_LEVELS:
            raise UserError(f"NoiseSchedule.levels is {self.levels!r:.60}", f"give 2 to {MOST_LEVELS:,}")
        betas_T = self.betas_T
        if not (np.all(betas_T > 0) and np.all(betas_T < 1)):
            raise UserError(
                f"the {self.kind} schedule of {self.levels} levels has betas {betas_T.min():g} to {betas_T.max():g}",
                "choose numbers that keep them between 0 and 1",
            )

    @functools.cached_property
    def betas_T(self) -> np.ndarray:
        """The variance that each level adds, float64 [T]."""
        return KINDS[self.kind](self)

    @functools.cached_property
    def log_signals_T(self) -> np.ndarray:
        """Log of abar, the share of the variance that is signal; float64 [T]."""
        return np.cumsum(np.log1p(-self.betas_T))

    @functools.cached_property
    def alpha_bars_T(self) -> np.ndarray:
        """abar, the product of all 1 - beta up to each level; float64 [T]."""
        return np.exp(self.log_signals_T)

    @functools.cached_property
    def noise_variances_T(self) -> np.ndarray:
        """1 - abar, without cancellation; float64 [T]."""
        return -np.expm1(self.log_signals_T)

    def beta(self, level: jax.typing.ArrayLike) -> jax.Array:
        """The variance that a level adds; float32, of the level's shape."""
        return jnp.asarray(self.betas_T, jnp.float32)[level]

    def signal(self, level: jax.typing.ArrayLike) -> jax.Array:
        """sqrt(abar) of a level; float32, of the level's shape."""
        return jnp.asarray(np.sqrt(self.alpha_bars_T), jnp.float32)[level]

    def noise(self, level: jax.typing.ArrayLike) -> jax.Array:
        """sqrt(1 - abar) of a level: the noise's standard deviation; float32, of the level's shape."""
        return jnp.asarray(np.sqrt(self.noise_variances_T), jnp.float32)[level]

    def noised(self, x: jax.Array, level: jax.typing.ArrayLike, noise: jax.Array) -> jax.Array:
        """A data point at a level.

        Args:
            x: data, of any shape.
            level: int32 [].
            noise: standard normal, as x.
        """
        return self.signal(level) * x + self.noise(level) * noise


def _cosine(schedule: NoiseSchedule) -> np.ndarray:
    at = (np.arange(schedule.levels + 1) / schedule.levels + schedule.offset) / (1.0 + schedule.offset)
    alpha_bars = np.cos(at * math.pi / 2) ** 2
    return np.minimum(1.0 - alpha_bars[1:] / alpha_bars[:-1], schedule.largest_beta)


def _linear(schedule: NoiseSchedule) -> np.ndarray:
    scale = REFERENCE_LEVELS / schedule.levels
    return np.linspace(scale * schedule.first_beta, scale * schedule.last_beta, schedule.levels)


KINDS: Mapping[str, Callable[[NoiseSchedule], np.ndarray]] = {"cosine": _cosine, "linear": _linear}
