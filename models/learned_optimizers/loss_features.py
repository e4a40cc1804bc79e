"""What VeLO is told of the loss: how far it is above its least, seen over ten lengths of time (arXiv:2211.09760)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

AVERAGES = 10
FEATURES = AVERAGES - 1
_NO_MINIMUM = 999999999999.0  # the reference's start of a running minimum; losses above it leave the features at 0


class LossState(NamedTuple):
    """Averages of the loss, float32 [10] each: the means (not corrected), and the least corrected mean so far."""

    means: jax.Array
    least: jax.Array


def decays_of(num_steps: jax.typing.ArrayLike) -> jax.Array:
    """The decays [10] whose half-lives, in the code's sense exp(-1 / h), go from 10 steps to num_steps."""
    return jnp.exp(-1.0 / jnp.logspace(1, jnp.log10(num_steps), AVERAGES)).astype(jnp.float32)


def initial_losses() -> LossState:
    """Before any loss."""
    return LossState(jnp.zeros(AVERAGES, jnp.float32), jnp.full(AVERAGES, _NO_MINIMUM, jnp.float32))


def next_losses(state: LossState, loss: jax.Array, count: jax.Array, decays: jax.Array) -> LossState:
    """The averages with one more loss, which counts as twice the largest mean at the most.

    Args:
        state: the averages.
        loss: float32 [].
        count: how many losses came before.
        decays: `decays_of` the run's length.
    """
    weight = 1 - decays ** (count + 1)
    # before the first loss its own size is the bound; later means are divided by one step more than they have
    largest = jnp.where(count == 0, loss, jnp.max(state.means / weight))
    loss = jnp.minimum(jnp.abs(largest) * 2, loss)
    means = state.means * decays + loss * (1.0 - decays)
    return LossState(means, jnp.minimum(state.least, means / weight))


def loss_features(state: LossState, count: jax.Array, decays: jax.Array) -> jax.Array:
    """For each average but the longest: 0 where it is as high over its least as the next longer one, down to -1.

    Args:
        state: with the newest loss.
        count: how many losses it has.
        decays: `decays_of` the run's length.

    Returns:
        float32 [9], between -1 and 1; zeros up to the second loss.
    """
    means = state.means / (1 - decays**count)
    least = state.least[:-1]
    above = (means[:-1] - least) / jnp.maximum(1e-8, means[1:] - least)
    return jnp.where(count <= 2, 0.0, jnp.clip(above - 1.0, -1, 1))
