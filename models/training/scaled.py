"""An optimizer with a learning rate and an epsilon of its own for each parameter (arXiv:2407.05872)."""

from typing import Any

import jax
import optax

from shammie.errors import UserError


def with_scales(inner: optax.GradientTransformation, *, learning_rate: Any, epsilon: Any) -> Any:
    """An optimizer whose update of each parameter is times `learning_rate`, and its epsilon times `epsilon`.

    An epsilon of the denominator sqrt(v) + e times s is the same as gradients over s: m / (sqrt(v) + s e) =
    (m / s) / (sqrt(v) / s + e). So `inner` sees gradients over s, and its state is of these; it has the same structure
    as without scales. All else that `inner` does, decoupled weight decay with it, goes by the parameter's own rate.

    Args:
        inner: the optimizer, with its own learning rate and epsilon.
        learning_rate: a number for each parameter, in the parameters' structure.
        epsilon: the same; None where `inner` has no epsilon and must see the gradients as they are.

    Returns:
        The Optax transformation.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if epsilon is not None:
            updates = jax.tree.map(lambda g, s: g / s, updates, like(updates, epsilon))
        updates, state = inner.update(updates, state, params)
        return jax.tree.map(lambda u, rate: u * rate, updates, like(updates, learning_rate)), state

    return optax.GradientTransformation(inner.init, update)


def like(tree: Any, numbers: Any) -> Any:
    """The numbers in another tree's structure: T5X freezes the dictionaries of parameters.

    Raises:
        UserError: the two have another number of leaves.
    """
    leaves, structure = jax.tree.leaves(numbers), jax.tree.structure(tree)
    if len(leaves) != structure.num_leaves:
        raise UserError(
            f"scales of {len(leaves)} parameters are given to a network that has {structure.num_leaves}",
            "make the scales from the same network's shapes",
        )
    return jax.tree.unflatten(structure, leaves)
