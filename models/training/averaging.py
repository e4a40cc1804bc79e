"""An average of the parameters over the steps, kept in the optimizer's state: diffusion models are sampled with it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class AverageState(NamedTuple):
    """The state of `average_of_parameters`: updates so far, int32 [], and averages in the parameters' structure."""

    updates: jax.Array
    average: Any


def average_of_parameters(decay: float) -> optax.GradientTransformation:
    """Leaves updates as they are, and averages the parameters that they lead to; the last of a chain.

    average <- d * average + (1 - d) * parameters, d = min(decay, (1 + n) / (10 + n)) after n updates before this one,
    so that the average forgets the first parameters soon (TensorFlow's ExponentialMovingAverage with num_updates).

    Args:
        decay: d in the long run, above 0 and below 1.
    """

    def init(params: Any) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.array, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AverageState]:
        after = optax.apply_updates(params, updates)
        keep = jnp.minimum(decay, (1.0 + state.updates) / (10.0 + state.updates))
        mixed = lambda old, new: (keep * old + (1.0 - keep) * new).astype(old.dtype)  # noqa: E731
        return updates, AverageState(state.updates + 1, jax.tree.map(mixed, state.average, after))

    return optax.GradientTransformation(init, update)


def averaged(optimizer_state: Any, params: Any) -> Any:
    """The averaged parameters that an optimizer keeps, or the parameters themselves where it keeps none."""
    is_average = lambda leaf: isinstance(leaf, AverageState)  # noqa: E731
    found = [leaf for leaf in jax.tree.leaves(optimizer_state, is_leaf=is_average) if is_average(leaf)]
    return found[0].average if found else params
