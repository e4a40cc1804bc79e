"""What a learned optimizer is: meta-parameters, theta, apart from the rule that reads them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Theta = Any
Params = Any
Key = jax.Array


class LearnedOptimizer(NamedTuple):
    """A learned update rule. It holds no meta-parameters: each function is pure in the theta it is given.

    Attributes:
        name: the rule's, "velo", "star", "adafactor_mlp" or "mlp"; it is stored with weights.
        config: its sizes and switches, a frozen dataclass.
        init_theta: key -> random meta-parameters, a pytree of float32 arrays, as meta-training starts from.
        optax: (theta, num_steps, **options) -> the Optax transformation (`optax_face.transformation`), an
            optax.GradientTransformationExtraArgs. Theta and num_steps may be traced arrays, so that it can be vmapped
            and differentiated over theta.
    """

    name: str
    config: Any
    init_theta: Callable[[Key], Theta]
    optax: Callable[..., Any]


def count_of(tree: Any) -> int:
    """How many numbers a pytree of arrays has: 2,320,385 for VeLO's theta."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
