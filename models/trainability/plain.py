"""The notebook's way, in JAX: `vmap` over pixels of a `scan` over steps. The engine's proof and its peer.

It runs on any device that JAX has, and in float32 too. Its sums run in XLA's order, so that a pixel beside the boundary
may fall on its other side.
"""

import functools
from typing import Any

import numpy as np

from models.trainability.convergence import Pixels, measure
from models.trainability.problem import Problem


def plain_losses(problem: Problem, x: np.ndarray, y: np.ndarray, *, dtype: Any = np.float64) -> np.ndarray:
    """Losses of each pixel before each update, in dtype [P, T].

    Args:
        problem: what the pixels share.
        x: float64 [P], as for `models.trainability.pixels.pixel_values`.
        y: float64 [P].
        dtype: of the arithmetic; the random numbers are drawn in float64 in any case.
    """
    import jax

    with jax.enable_x64(True):
        return np.asarray(_trainings(problem, np.dtype(dtype).name)(np.asarray(x, dtype), np.asarray(y, dtype)))


def plain_pixel_values(problem: Problem, x: np.ndarray, y: np.ndarray, *, dtype: Any = np.float64) -> Pixels:
    """What `models.trainability.pixels.pixel_values` computes, the notebook's way; every step is run.

    Args:
        problem: what the pixels share.
        x: float64 [P].
        y: float64 [P].
        dtype: of the arithmetic.
    """
    losses = plain_losses(problem, x, y, dtype=dtype).astype(np.float64)
    value, converged = measure(losses)
    return Pixels(value, converged, losses[:, -1], np.full(len(losses), problem.steps))


@functools.lru_cache(maxsize=8)
def _trainings(problem: Problem, dtype: str) -> Any:
    """The compiled function of x and y, [P] each, to losses [P, T]."""
    import jax
    import jax.numpy as jnp

    condition, draws = problem.condition, problem.draws
    weights, readout, features, targets = (np.asarray(one, dtype) for one in draws[:4])
    root = np.sqrt(np.asarray(problem.width, dtype))
    second = np.sqrt(np.asarray(2, dtype))

    def output(theta: Any, features: Any) -> Any:
        sums = features @ theta[0] / root
        if condition.activation == "tanh":
            hidden = jnp.tanh(sums * second)
        elif condition.activation == "relu":
            hidden = jax.nn.relu(sums) * second
        else:
            hidden = sums
        return hidden @ theta[1] / root / root

    def loss_of(theta: Any, features: Any, targets: Any) -> Any:
        return jnp.mean((output(theta, features) - targets) ** 2)

    def train(x: Any, y: Any) -> Any:
        rates = (x, y) if condition.offset is None else (y, y)
        offset = x if condition.offset else jnp.zeros_like(x)

        def step(theta: Any, batch: Any) -> Any:
            if condition.offset == "each_step":
                theta = (theta[0] + offset, theta[1])
            loss, gradient = jax.value_and_grad(loss_of)(theta, features, targets)
            if condition.batch_size is not None:
                gradient = jax.grad(loss_of)(theta, jnp.asarray(features)[batch], jnp.asarray(targets)[batch])
            theta = tuple(one - rate * slope for one, rate, slope in zip(theta, rates, gradient, strict=True))
            return theta, loss

        start = weights + offset if condition.offset == "start" else jnp.asarray(weights)
        batches = draws.batches if condition.batch_size is not None else None
        return jax.lax.scan(step, (start, jnp.asarray(readout)), batches, length=problem.steps)[1]

    return jax.jit(jax.vmap(train))
