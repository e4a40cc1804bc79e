"""Choosing the step size of gradient descent on a noisy quadratic: the smallest problem of learned optimization."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from models.evolution.unrolled import Unrolled
from shammie.errors import UserError

NODES = 32  # of the quadrature


@dataclass(frozen=True)
class QuadraticConfig:
    """The problem: w <- w - a h (w - noise c), c ~ N(0, 1) each step; L_t is the mean over dimensions of h w^2 / 2.

    Attributes:
        horizon: T, steps.
        dimensions: D.
        condition: the largest curvature h is 1, the smallest 1 / condition; between them evenly in the logarithm.
        noise: standard deviation of where a step's gradient sees the minimum.
        start: the first w, in every dimension.
        first_log_rate: ln a that learning starts from.
        each: whether every dimension has a rate of its own.
    """

    horizon: int = 100
    dimensions: int = 10
    condition: float = 100.0
    noise: float = 0.1
    start: float = 1.0
    first_log_rate: float = -3.0
    each: bool = False

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise UserError(f"QuadraticConfig.dimensions is {self.dimensions}", "give at least 1")
        if not self.condition >= 1:
            raise UserError(f"QuadraticConfig.condition is {self.condition}", "give at least 1")
        if not self.noise >= 0:
            raise UserError(f"QuadraticConfig.noise is {self.noise}", "give a standard deviation")


def curvatures(config: QuadraticConfig) -> np.ndarray:
    """h, float [D]."""
    return np.geomspace(1.0, 1 / config.condition, config.dimensions)


def first_rates(config: QuadraticConfig) -> dict[str, jax.Array]:
    """The parameters that learning starts from: "log_rate", float [] or [D]."""
    return {"log_rate": jnp.full((config.dimensions,) if config.each else (), config.first_log_rate, jnp.float32)}


def quadratic(config: QuadraticConfig = QuadraticConfig()) -> Unrolled:
    """The unrolled problem; its state is w, float [D]."""
    h_D = curvatures(config).astype(np.float32)

    def init(theta: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        del theta, key
        return jnp.full(config.dimensions, config.start, jnp.float32)

    def step(
        theta: dict[str, jax.Array], w_D: jax.Array, number: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        del number
        target_D = config.noise * jax.random.normal(key, w_D.shape)
        w_D = w_D - jnp.exp(theta["log_rate"]) * (h_D * (w_D - target_D))
        return w_D, jnp.mean(h_D * jnp.square(w_D)) / 2

    return Unrolled(init, step, config.horizon)


def expected_losses(config: QuadraticConfig, log_rate: float | np.ndarray) -> np.ndarray:
    """The expected losses of an episode, exactly; float64 [T].

    E w^2 <- (1 - a h)^2 E w^2 + (a h noise)^2.
    """
    h_D = curvatures(config)
    moved_D = np.exp(log_rate) * h_D
    square_D = np.full(config.dimensions, config.start**2, np.float64)
    losses = []
    for _ in range(config.horizon):
        square_D = (1 - moved_D) ** 2 * square_D + (moved_D * config.noise) ** 2
        losses.append(np.mean(h_D * square_D) / 2)
    return np.array(losses)


def smoothed_gradient(config: QuadraticConfig, log_rate: float, sigma: float) -> float:
    """The exact gradient of the smoothed objective by the one log rate: E[z L(log_rate + sigma z)] / sigma.

    z is N(0, 1); by Gauss-Hermite quadrature; for rates where training diverges at some likely z, nothing is exact.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    means = np.array([expected_losses(config, log_rate + sigma * node).mean() for node in nodes])
    return float(np.sum(weights * nodes * means) / np.sum(weights) / sigma)
