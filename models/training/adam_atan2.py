"""Adam-atan2: Adam without epsilon, whose steps do not depend on the gradient's scale (arXiv:2407.05872)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

A = 4 / math.pi  # 1 / atan(1): a step whose two moments agree is 1, as Adam's is; the longest is 2
B = 1.0


def scale_by_adam_atan2(b1: float = 0.9, b2: float = 0.98, *, a: float = A, b: float = B) -> Any:
    """Turns gradients into a * atan2(m, b * sqrt(v)), the moments m and v as Adam has them, bias-corrected.

    Where Adam divides m by sqrt(v) + epsilon, this has no epsilon: gradients that are times 2^k give the same bits, as
    long as their squares are ordinary float32 numbers (sizes from 1e-18 to 1e18; a smaller one's v is 0, and it moves
    by the most, a * pi / 2). A parameter without any gradient stays, since atan2(0, 0) is 0.

    Args:
        b1: the first moment's decay.
        b2: the second moment's decay.
        a: of the whole: steps are at most a * pi / 2 long, and a / b times Adam's where these are small.
        b: of the root, which says how soon steps are shortened.

    Returns:
        The Optax transformation; its state is Adam's, `optax.ScaleByAdamState`.
    """

    def init(params: Any) -> optax.ScaleByAdamState:
        zeros = optax.tree.zeros_like
        return optax.ScaleByAdamState(count=jnp.zeros((), jnp.int32), mu=zeros(params), nu=zeros(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        m, v = optax.tree.bias_correction(mu, b1, count), optax.tree.bias_correction(nu, b2, count)
        turned = jax.tree.map(lambda m, v: a * jnp.arctan2(m, b * jnp.sqrt(v)), m, v)
        return turned, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)
