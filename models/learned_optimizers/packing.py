"""Averages between their two forms: trees for the state, stacked arrays for the groups that are computed together."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models.learned_optimizers.accumulators import Accumulators, Moments
from models.learned_optimizers.grouping import Group, gathered, scattered


def as_trees(each: Sequence[Moments], structure: Any, counts: tuple[int, int, int]) -> Accumulators:
    """The state's trees, from the averages of each leaf.

    Args:
        each: of every leaf of the parameters.
        structure: the parameters'.
        counts: how many decays of each kind, as in `Decays`.
    """

    def tree(leaves: list) -> Any:
        return jax.tree.unflatten(structure, leaves)

    momentum, rms, _ = counts
    return Accumulators(
        tuple(tree([m.momentum[k] for m in each]) for k in range(momentum)),
        tuple(tree([m.rms[k] for m in each]) for k in range(rms)),
        tree([m.row for m in each]),
        tree([m.col for m in each]),
    )


def as_leaves(accumulators: Accumulators) -> list[Moments]:
    """The averages of each leaf, from the state's trees."""
    row, col = jax.tree.leaves(accumulators.row), jax.tree.leaves(accumulators.col)
    momentum = [jax.tree.leaves(tree) for tree in accumulators.momentum]
    rms = [jax.tree.leaves(tree) for tree in accumulators.rms]
    return [Moments(tuple(m[i] for m in momentum), tuple(r[i] for r in rms), row[i], col[i]) for i in range(len(row))]


def gathered_moments(each: Sequence[Moments], group: Group) -> Moments:
    """A group's averages, stacked."""
    members = [each[i] for i in group.members]

    def factored(parts: list[jax.Array]) -> jax.Array:
        # a scalar is of shape (1,) in its group
        parts = [x.reshape(x.shape[0], 1, *(x.shape[1:] or (1,))) for x in parts]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)

    return Moments(
        tuple(gathered([m.momentum[k] for m in each], group) for k in range(len(members[0].momentum))),
        tuple(gathered([m.rms[k] for m in each], group) for k in range(len(members[0].rms))),
        factored([m.row for m in members]),
        factored([m.col for m in members]),
    )


def scattered_moments(stacked: Moments, group: Group, into: list, like: Sequence[Moments]) -> None:
    """Writes a group's averages back into a list of each leaf's, with the shapes that `like` has."""
    into_of = {}
    for name in ("momentum", "rms"):
        into_of[name] = []
        for k, x in enumerate(getattr(stacked, name)):
            found: list = [None] * len(like)
            scattered(x, group, found, [getattr(m, name)[k] for m in like])
            into_of[name].append(found)
    for g, i in enumerate(group.members):
        row, col = stacked.row[:, g].reshape(like[i].row.shape), stacked.col[:, g].reshape(like[i].col.shape)
        into[i] = Moments(
            tuple(found[i] for found in into_of["momentum"]), tuple(found[i] for found in into_of["rms"]), row, col
        )
