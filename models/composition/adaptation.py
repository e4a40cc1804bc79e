"""Step sizes adapted until the Metropolis test accepts a wished share of proposals (Robbins and Monro 1951).

The gain falls each time the acceptance crosses the target, not at each step (Kesten 1958): a first guess that is off by
thousands is left at full speed.

The acceptance is pooled over all chains, whose many make a step's mean exact enough to follow: in a few steps a level
finds its step size from the one above. (blackjax's dual averaging is made for a single chain's long warm-up: it begins
at ten times the step size.) A step size that still changes breaks a kernel's law: freeze it before draws count.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

GAIN = 1.0  # nats of step size per unit of acceptance, at a level's first step
DECAY = 0.6  # of the gain, by the number of crossings; between 0.5 and 1 (Polyak and Juditsky 1992)
FARTHEST = 1.0  # nats that one step may change


class Adaptation(NamedTuple):
    """Where the search is.

    Attributes:
        log_factor: log of what the step size is times, float32 [].
        mean: of log_factor over this level's later steps, float32 []: the result.
        above: whether the last acceptance was above the target, bool [].
        crossed: how often it crossed the target at this level, int32 [].
        taken: steps at this level, int32 [].
    """

    log_factor: jax.Array
    mean: jax.Array
    above: jax.Array
    crossed: jax.Array
    taken: jax.Array


def begun(log_factor: jax.Array) -> Adaptation:
    """A level's search, from the level above's result."""
    none = jnp.zeros((), jnp.int32)
    return Adaptation(log_factor, log_factor, jnp.zeros((), bool), none, none)


def adapted(state: Adaptation, acceptance: jax.Array, target: float, steps: jax.Array) -> Adaptation:
    """The search after one step of all chains.

    Args:
        state: before.
        acceptance: the mean probability of acceptance over chains, float32 [].
        target: the wished one.
        steps: how many this level has, int32 []; the last half of them is averaged.
    """
    above = acceptance > target
    crossed = state.crossed + ((above != state.above) & (state.taken > 0))
    gain = GAIN / (1.0 + crossed) ** DECAY
    change = jnp.clip(gain * (acceptance - target), -FARTHEST, FARTHEST)
    log_factor = state.log_factor + change
    averaged = jnp.maximum(state.taken - steps // 2, 0) + 1.0
    mean = state.mean + (log_factor - state.mean) / averaged
    return Adaptation(log_factor, mean, above, crossed, state.taken + 1)


def pooled(values_N: jax.Array, alive_N: jax.Array) -> jax.Array:
    """The mean over live chains, float32 []; 0 where there are none."""
    return jnp.sum(jnp.where(alive_N, values_N, 0.0)) / jnp.maximum(jnp.sum(alive_N), 1)
