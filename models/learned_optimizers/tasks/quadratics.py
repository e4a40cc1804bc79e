"""Noisy quadratics: every world has its own curvatures, axes and minimum. D = parameters = rows * columns."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.learned_optimizers.tasks.gradients import log_uniform
from models.learned_optimizers.tasks.task import Task
from shammie.errors import UserError


@dataclass(frozen=True)
class NoisyQuadraticConfig:
    """What the quadratics are like; the parameters are a matrix, so that factored averages have something to factor.

    Attributes:
        rows: of the matrix.
        columns: of the matrix.
        condition: bounds of the largest curvature over the smallest, which a world draws log-uniformly; between them
            curvatures are even in the logarithm, and their mean is 1.
        noise: standard deviation of where an example sees the minimum, along each axis.
        start: standard deviation of the first parameters; the minimum's is 1.
        batch_size: B, examples whose losses are averaged.
    """

    rows: int = 8
    columns: int = 4
    condition: tuple[float, float] = (1.0, 1000.0)
    noise: float = 0.3
    start: float = 0.1
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"NoisyQuadraticConfig.{name} is {getattr(self, name)}", "give at least 1")
        if not 1 <= self.condition[0] <= self.condition[1] < float("inf"):
            raise UserError(
                f"NoisyQuadraticConfig.condition is {self.condition}", "give two numbers from 1 on, the smaller first"
            )
        for name in ("noise", "start"):
            if not getattr(self, name) >= 0:
                raise UserError(f"NoisyQuadraticConfig.{name} is {getattr(self, name)}", "give 0 or more")


class QuadraticWorld(NamedTuple):
    """Curvatures, float32 [D]; axes, the rows of an orthogonal matrix [D, D]; the minimum's place along them, [D]."""

    curvatures: jax.Array
    axes: jax.Array
    minimum: jax.Array


@functools.cache
def noisy_quadratic(config: NoisyQuadraticConfig = NoisyQuadraticConfig()) -> Task:
    """The loss is the mean over examples and axes of h (x - c)^2 / 2, c ~ N(minimum, noise^2).

    Its expectation is (1 + start^2 + noise^2) / 2 at first, and noise^2 / 2 at the minimum.
    """
    size = config.rows * config.columns

    def draw(key: jax.Array) -> QuadraticWorld:
        condition_key, axes_key, minimum_key = jax.random.split(key, 3)
        h_D = jnp.exp(-jnp.log(log_uniform(condition_key, config.condition)) * jnp.linspace(0, 1, size))
        axes_DD = jax.random.orthogonal(axes_key, size)
        return QuadraticWorld(h_D / jnp.mean(h_D), axes_DD, jax.random.normal(minimum_key, (size,)))

    def init(world: QuadraticWorld, key: jax.Array) -> dict[str, jax.Array]:
        del world
        return {"x": config.start * jax.random.normal(key, (config.rows, config.columns))}

    def batch(world: QuadraticWorld, key: jax.Array) -> jax.Array:
        return world.minimum[None] + config.noise * jax.random.normal(key, (config.batch_size, size))

    def loss(world: QuadraticWorld, params: dict[str, jax.Array], centers_BD: jax.Array) -> jax.Array:
        x_D = world.axes.astype(params["x"].dtype) @ params["x"].reshape(-1)
        return jnp.mean(world.curvatures[None] * jnp.square(x_D[None] - centers_BD)) / 2

    first_loss = (1 + config.start**2 + config.noise**2) / 2
    return Task("noisy_quadratic", draw, init, batch, loss, first_loss, config.batch_size)
