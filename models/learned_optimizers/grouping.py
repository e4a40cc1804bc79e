"""Tensors of one shape are computed together: fewer and larger operations, and a program that compiles faster.

G = tensors of a group. Arrays of a group are [G, *shape], where a scalar's shape is taken as (1,), so that every
tensor has an axis to take means over.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from shammie.errors import UserError

STACKED_SIZE = 1 << 16  # a larger tensor is a group of its own: copying it would cost more than the operations saved


class Group(NamedTuple):
    """Tensors that are computed together.

    Attributes:
        members: their places among the leaves that the optimizer changes.
        shape: each tensor's, (1,) for scalars.
        dtype: what they are computed in: float32, or float64 for tensors that are.
    """

    members: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: jnp.dtype


def learned_leaves(leaves: Sequence[jax.Array]) -> list[int]:
    """The places of the leaves that an optimizer changes: those of floats, with at least one number.

    Raises:
        UserError: a leaf of complex numbers, for which no learned optimizer has been trained.
    """
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise UserError(
                f"a parameter of shape {leaf.shape} has complex numbers ({leaf.dtype})",
                "learned optimizers change real ones: keep real and imaginary part as two parameters",
            )
    return [i for i, leaf in enumerate(leaves) if leaf.size and jnp.issubdtype(leaf.dtype, jnp.floating)]


def groups_of(leaves: Sequence[jax.Array]) -> list[Group]:
    """The groups of leaves, each leaf in one, in the order of their first members."""
    members: dict[tuple, list[int]] = {}
    for i, leaf in enumerate(leaves):
        dtype = jnp.promote_types(leaf.dtype, jnp.float32)
        alone = i if leaf.size > STACKED_SIZE else -1
        members.setdefault((leaf.shape, dtype, alone), []).append(i)
    return [Group(tuple(places), shape or (1,), dtype) for (shape, dtype, _), places in members.items()]


def gathered(leaves: Sequence[jax.Array], group: Group) -> jax.Array:
    """A group's leaves as one array [G, *shape] of the group's dtype."""
    parts = [leaves[i].astype(group.dtype).reshape(1, *group.shape) for i in group.members]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def scattered(stacked: jax.Array, group: Group, into: list, like: Sequence[jax.Array]) -> None:
    """Writes a group's array [G, *shape] back into a list of leaves, each with the shape and dtype that `like` has."""
    for g, i in enumerate(group.members):
        into[i] = stacked[g].reshape(like[i].shape).astype(like[i].dtype)
