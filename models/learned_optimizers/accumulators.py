"""What learned optimizers remember of the gradients: momenta, second moments, and Adafactor's factored ones.

All are plain exponential averages without bias correction, as the released weights were trained with. K = decays,
G = tensors of a group (`grouping`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.learned_optimizers.interface import Params

FACTORED_EPSILON = 1e-30  # added to squared gradients before they are averaged
FLOOR = 1e-9  # below which a factored second moment is not trusted


class Decays(NamedTuple):
    """The averages' decays: float arrays [K], or none of a kind (an empty array)."""

    momentum: jax.Array
    rms: jax.Array
    factored: jax.Array


class Accumulators(NamedTuple):
    """The averages of every tensor. Each tree has the parameters' structure, so they can be sharded alike.

    A parameter that the optimizer does not change (integers, or of no size) has a 0 here for each array: Orbax saves no
    arrays without entries.

    Attributes:
        momentum: for each decay a tree of averaged gradients, shaped as the parameters are; float32 (float64 for
            float64 parameters).
        rms: for each decay a tree of averaged squared gradients, the same.
        row: a tree of averaged squared gradients, [K, *shape] without the largest axis; of a tensor of less than two
            axes [K, *shape], not factored.
        col: a tree of them, [K, *shape] without the second largest axis; zeros [K, 1] where not factored.
    """

    momentum: tuple[Params, ...]
    rms: tuple[Params, ...]
    row: Params
    col: Params


class Moments(NamedTuple):
    """One group's averages: momentum and rms, tuples of [G, *shape]; row and col, [K, G, ...] as above."""

    momentum: tuple[jax.Array, ...]
    rms: tuple[jax.Array, ...]
    row: jax.Array
    col: jax.Array


def factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The second largest axis and the largest one; None for fewer than two axes.

    Among equal sizes it is the order of numpy's argsort that decides: released weights were trained with it, so a
    square matrix is not treated as its transpose is.
    """
    if len(shape) < 2:
        return None
    order = np.argsort(shape)
    return int(order[-2]), int(order[-1])


def empty_moments(shape: tuple[int, ...], dtype: jnp.dtype, counts: tuple[int, int, int]) -> Moments:
    """Zeros for one tensor, without the group's axis.

    Args:
        shape: the tensor's.
        dtype: of the averages.
        counts: how many decays of each kind, as in `Decays`.
    """
    axes = factored_axes(shape)
    row, col = (shape, (1,)) if axes is None else (_without(shape, axes[1]), _without(shape, axes[0]))
    momentum, rms, factored = counts
    return Moments(
        tuple(jnp.zeros(shape, dtype) for _ in range(momentum)),
        tuple(jnp.zeros(shape, dtype) for _ in range(rms)),
        jnp.zeros((factored, *row), dtype),
        jnp.zeros((factored, *col), dtype),
    )


def next_moments(old: Moments, g: jax.Array, decays: Decays) -> Moments:
    """The averages after one more gradient.

    Args:
        old: the averages of a group.
        g: gradients [G, *shape].
        decays: of each kind; rms and factored ones are taken between 0 and 1.
    """
    squared = jnp.square(g)
    momentum = tuple(d * m + (1 - d) * g for d, m in zip(_each(decays.momentum, g), old.momentum, strict=True))
    clipped = _each(jnp.clip(decays.rms, 0, 1), g)
    rms = tuple(d * r + (1 - d) * squared for d, r in zip(clipped, old.rms, strict=True))
    squared = squared + FACTORED_EPSILON
    axes = factored_axes(g.shape[1:])
    decay = jnp.clip(decays.factored, 0, 1).astype(g.dtype)
    if axes is None:
        row_now, col_now = squared, None
    else:
        row_now, col_now = jnp.mean(squared, axis=axes[1] + 1), jnp.mean(squared, axis=axes[0] + 1)
    row = _averaged(old.row, row_now, decay)
    return Moments(momentum, rms, row, old.col if col_now is None else _averaged(old.col, col_now, decay))


class Factors(NamedTuple):
    """What a gradient or a momentum is times, to be scaled as Adafactor scales it, for each decay.

    Attributes:
        row: averages of `Accumulators.row`, each broadcastable to [G, *shape].
        col: the same of `col`; where nothing is factored they are the row's.
        scale: for each decay the factors whose product scales a gradient; each is broadcastable to [G, *shape].
    """

    row: tuple[jax.Array, ...]
    col: tuple[jax.Array, ...]
    scale: tuple[tuple[jax.Array, ...], ...]


def factors_of(moments: Moments, shape: tuple[int, ...]) -> Factors:
    """The factored averages of a group, spread over the tensor's axes.

    Args:
        moments: after this step's gradient.
        shape: each tensor's.
    """
    row, col = moments.row, moments.col
    axes = factored_axes(shape)
    if axes is None:
        rows = tuple(row)
        return Factors(rows, rows, tuple((safe_rsqrt(v + FLOOR),) for v in rows))
    second, largest = axes
    mean = jnp.mean(row, axis=2 + second - (second > largest), keepdims=True)
    rows = tuple(jnp.expand_dims(row, 2 + largest))
    cols = tuple(jnp.expand_dims(col, 2 + second))
    row_scale = jnp.expand_dims(safe_rsqrt(row / (mean + FLOOR)), 2 + largest)
    col_scale = jnp.expand_dims(safe_rsqrt(col), 2 + second)
    return Factors(rows, cols, tuple(zip(row_scale, col_scale, strict=True)))


def safe_rsqrt(x: jax.Array) -> jax.Array:
    """1 / sqrt(x), where x below 1e-9 counts as that."""
    return jax.lax.rsqrt(jnp.maximum(x, FLOOR))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _each(decays: jax.Array, like: jax.Array) -> list[jax.Array]:
    return [decays[k].astype(like.dtype) for k in range(decays.shape[0])]


def _averaged(old: jax.Array, now: jax.Array, decay: jax.Array) -> jax.Array:
    d = decay.reshape(-1, *(1,) * now.ndim)
    return d * old + (1 - d) * now[None]
