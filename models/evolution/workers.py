"""Step-unlocked workers: where each is in its episode, how long that is, and their random numbers. N = workers."""

import jax
import jax.numpy as jnp

from models.evolution.config import EvolutionConfig
from models.evolution.unrolled import Key

NOISE, INIT, HORIZON, STEP = range(4)  # what a worker's key is for
_PURPOSES = 4


def one_key(key: Key, place: int | jax.Array, purpose: int) -> Key:
    """The key for one purpose at a place of the window, from that of the estimate."""
    return jax.random.fold_in(key, place * _PURPOSES + purpose)


def keys_for(key: Key, numbers_N: jax.Array, place: int | jax.Array, purpose: int) -> Key:
    """As `one_key`, for each worker from its number, whatever device it is on; keys [N]."""
    return worker_keys(one_key(key, place, purpose), numbers_N)


def worker_keys(key: Key, numbers_N: jax.Array) -> Key:
    """A key for each worker from its number; keys [N]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers_N)


def draw_horizons(config: EvolutionConfig, horizon: int, keys_N: Key) -> jax.Array:
    """The horizon of each worker's next episode, int32 [N]."""
    count = keys_N.shape[0]
    if config.horizon_sampling == "fixed":
        return jnp.full(count, horizon, jnp.int32)
    low, high = jnp.log(float(config.shortest_horizon)), jnp.log(float(horizon) + 1)
    logs = jax.vmap(lambda key: jax.random.uniform(key, minval=low, maxval=high))(keys_N)
    return jnp.clip(jnp.floor(jnp.exp(logs)), config.shortest_horizon, horizon).astype(jnp.int32)


def draw_offsets(config: EvolutionConfig, horizons_N: jax.Array, keys_N: Key) -> jax.Array:
    """Where each worker starts: uniform over {0, W, 2 W, ...} below its horizon; int32 [N] (arXiv:2304.12180)."""
    if not config.offsets:
        return jnp.zeros_like(horizons_N)
    windows_N = -(-horizons_N // config.window)
    return jax.vmap(lambda key, most: jax.random.randint(key, (), 0, most))(keys_N, windows_N) * config.window
