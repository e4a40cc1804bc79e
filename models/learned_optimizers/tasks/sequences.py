"""Generated sequences: every world has its own table of what follows which tokens.

B = batch, L = length, V = vocabulary.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from shammie.errors import UserError


@dataclass(frozen=True)
class SequenceConfig:
    """What sequences are like.

    Attributes:
        vocabulary: V, tokens.
        length: L, tokens to predict in a row.
        order: tokens that the next one depends on, 1 or 2.
        sharpness: standard deviation of the log-probabilities, before they are normalised; 0 makes tokens uniform.
        batch_size: B.
    """

    vocabulary: int = 8
    length: int = 12
    order: int = 2
    sharpness: float = 2.0
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 2), ("length", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UserError(f"SequenceConfig.{name} is {getattr(self, name)}", f"give at least {least}")
        if self.order not in (1, 2):
            raise UserError(f"SequenceConfig.order is {self.order}", "give 1 or 2")
        if not self.sharpness >= 0:
            raise UserError(f"SequenceConfig.sharpness is {self.sharpness}", "give 0 or more")


def transitions(config: SequenceConfig, key: jax.Array) -> jax.Array:
    """A world: the cumulative probabilities of the next token after two; float32 [V, V, V], at order 1 [1, V, V]."""
    v = config.vocabulary
    logits = config.sharpness * jax.random.normal(key, (v if config.order == 2 else 1, v, v))
    return jnp.cumsum(jax.nn.softmax(logits), axis=-1)


def sequences(config: SequenceConfig, cumulative_VVV: jax.Array, key: jax.Array) -> jax.Array:
    """A fresh batch of a world's sequences: L tokens to predict behind one to begin with; int32 [B, L + 1]."""
    start_key, next_key = jax.random.split(key)
    v, rows = config.vocabulary, config.batch_size
    first_2B = jax.random.randint(start_key, (2, rows), 0, v)
    uniform_LB1 = jax.random.uniform(next_key, (config.length, rows, 1))

    def follow(last: tuple[jax.Array, ...], uniform_B1: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        older_B, newer_B = last
        below_BV = cumulative_VVV[older_B if config.order == 2 else 0, newer_B] <= uniform_B1
        next_B = jnp.minimum(jnp.sum(below_BV, axis=-1), v - 1)  # a cumulative sum may end a little below 1
        return (newer_B, next_B), next_B

    _, next_LB = jax.lax.scan(follow, (first_2B[0], first_2B[1]), uniform_LB1)
    return jnp.concatenate([first_2B[1:], next_LB]).T
