"""Numbers of a loop's state side by side in one array: on a CPU, a loop over few numbers costs by the array.

XLA runs one small kernel for each array that a step makes. Trajectories whose state is a handful of numbers (Lorenz, a
pendulum) spend most of a step between kernels; as rows of one array, all are made by one. S = trajectories of a worker,
N = workers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Packed(NamedTuple):
    """A pytree with its numbers of one kind in rows.

    Attributes:
        rows: the leaves that are one number for each trajectory, float [R, S, N]; None where there are fewer than two.
        rest: all other leaves, in their order.
    """

    rows: jax.Array | None
    rest: list[jax.Array]


def pack(tree: Any, like: jax.Array) -> Packed:
    """Puts the leaves of the shape and dtype of `like`, [S, N], in rows."""
    leaves = jax.tree.leaves(tree)
    ours = [leaf for leaf in leaves if _fits(leaf, like)]
    if len(ours) < 2:
        return Packed(None, leaves)
    return Packed(jnp.stack(ours), [leaf for leaf in leaves if not _fits(leaf, like)])


def unpack(packed: Packed, tree: Any, like: jax.Array) -> Any:
    """The pytree of the structure, shapes and dtypes of `tree` that `pack` packed."""
    leaves, structure = jax.tree.flatten(tree)
    if packed.rows is None:
        return jax.tree.unflatten(structure, packed.rest)
    rows, rest = iter(packed.rows), iter(packed.rest)
    return jax.tree.unflatten(structure, [next(rows if _fits(leaf, like) else rest) for leaf in leaves])


def _fits(leaf: jax.Array, like: jax.Array) -> bool:
    return leaf.shape == like.shape and leaf.dtype == like.dtype
