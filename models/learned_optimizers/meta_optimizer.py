"""The optimizer of theta: Adam under bounds and a schedule, with a switch that holds it still."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from models.learned_optimizers.curriculum import MetaTrainingConfig
from models.learned_optimizers.interface import Theta


class Held(NamedTuple):
    """Whether updates are held back, bool [], and the optimizer's state."""

    hold: jax.Array
    inner: Any


def held(state: Any) -> Any:
    """The meta-optimizer's state, switched off: updates are zeros, and its averages stay."""
    return state._replace(hold=jnp.ones((), bool))


def meta_optimizer_of(config: MetaTrainingConfig) -> optax.GradientTransformation:
    """The optimizer of theta: bounds on the gradient, then Adam with decay, by its schedule."""
    bounds = [optax.clip(config.clip_value)] if config.clip_value else []
    bounds += [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return _with_hold(optax.chain(*bounds, optax.adamw(schedule_of(config), weight_decay=config.theta_decay)))


def _with_hold(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer with a switch: while its state says so, nothing moves. Burn-in needs no program of its own so."""

    def init(params: Theta) -> Held:
        return Held(jnp.zeros((), bool), optimizer.init(params))

    def update(updates: Any, state: Any, params: Theta | None = None) -> tuple[Any, Held]:
        updates, after = optimizer.update(updates, state.inner, params)
        updates = jax.tree.map(lambda x: jnp.where(state.hold, jnp.zeros_like(x), x), updates)
        after = jax.tree.map(lambda new, old: jnp.where(state.hold, old, new), after, state.inner)
        return updates, Held(state.hold, after)

    return optax.GradientTransformation(init, update)


def schedule_of(config: MetaTrainingConfig) -> Callable[[Any], Any]:
    """Updates made -> the learning rate of the next one."""
    total, least = config.iterations, config.final_share

    def rate(count: Any) -> Any:
        share = least + (1 - least) * (1 + jnp.cos(jnp.pi * jnp.minimum(count / total, 1.0))) / 2
        rising = jnp.minimum((count + 1) / config.warmup, 1.0) if config.warmup else 1.0
        return config.learning_rate * share * rising

    return rate
