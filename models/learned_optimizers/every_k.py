"""An optimizer that acts on the mean of several gradients and losses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from models.learned_optimizers.interface import Params
from shammie.errors import UserError


class EveryKState(NamedTuple):
    """Calls since the last update (int32 []), sums of gradients and of losses since, and the inner state."""

    calls: jax.Array
    gradients: Params
    loss: jax.Array
    inner: Any


def every_k(inner: optax.GradientTransformationExtraArgs, k: int) -> optax.GradientTransformationExtraArgs:
    """Averages gradients and losses over k calls; the last of them updates, the others change nothing.

    Unlike `optax.MultiSteps` the inner optimizer is told the mean loss of its gradients, not the last one.

    Args:
        inner: the optimizer, with `value=` as its loss.
        k: calls per update.
    """

    def init(params: Params) -> EveryKState:
        zeros = jax.tree.map(_zeros, params)
        return EveryKState(jnp.zeros((), jnp.int32), zeros, jnp.zeros((), jnp.float32), inner.init(params))

    def update(
        updates: Params, state: Any, params: Params | None = None, *, value: Any = None, loss: Any = None,
        **rest: Any,
    ) -> tuple[Params, EveryKState]:  # fmt: skip
        if params is None:
            raise UserError("the optimizer's update was given no parameters", "call update(grads, state, params, ...)")
        loss = loss if value is None else value
        if loss is not None and jnp.size(loss) == 1:  # one number in any shape; the inner optimizer refuses others
            loss = jnp.reshape(loss, ())
        summed = jax.tree.map(_added, state.gradients, updates)
        total = state.loss if loss is None else state.loss + loss
        zeros = jax.tree.map(jnp.zeros_like, summed)

        def act() -> tuple[Params, EveryKState]:
            mean = jax.tree.map(lambda x: x / k, summed)
            value = None if loss is None else total / k
            steps, next_inner = inner.update(mean, state.inner, params, value=value, **rest)
            return steps, EveryKState(jnp.zeros((), jnp.int32), zeros, jnp.zeros((), jnp.float32), next_inner)

        def wait() -> tuple[Params, EveryKState]:
            steps = jax.tree.map(jnp.zeros_like, params)
            return steps, EveryKState(state.calls + 1, summed, jnp.asarray(total, jnp.float32), state.inner)

        return jax.lax.cond(state.calls + 1 == k, act, wait)

    return optax.GradientTransformationExtraArgs(init, update)


def _zeros(param: jax.Array) -> jax.Array:
    """Sums are float32 at the least; what is no float is not summed."""
    floating = jnp.issubdtype(param.dtype, jnp.floating)
    return jnp.zeros(param.shape, jnp.promote_types(param.dtype, jnp.float32) if floating else jnp.float32)


def _added(total: jax.Array, gradient: Any) -> jax.Array:
    return total + gradient if jnp.issubdtype(gradient.dtype, jnp.floating) else total
