"""The notebook's random numbers, exactly: weights, data and minibatches from JAX's keys, in its order.

Source: the notebook of arXiv:2402.06184 (Sohl-Dickstein/fractal). Its pictures are those of JAX's defaults then, with
`threefry_partitionable` off; JAX now has it on, which draws other numbers from the same keys.
"""

from typing import NamedTuple

import numpy as np

BATCH_KEY = 42


class Draws(NamedTuple):
    """What a training starts from.

    Args:
        weights: float64 [n, n], the input layer's, inputs first.
        readout: float64 [n], the output layer's.
        features: float64 [N, n].
        targets: float64 [N].
        batches: int64 [steps, B], each step's data; [0, 0] without minibatches.
    """

    weights: np.ndarray
    readout: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    batches: np.ndarray


def draw(
    width: int, data_count: int, *, steps: int, batch_size: int | None, seed: int = 0, partitionable: bool = True
) -> Draws:
    """Draws weights and data, all standard normal in float64; JAX's settings are as before afterwards.

    Args:
        width: n.
        data_count: N.
        steps: how many minibatches; their keys depend on it.
        batch_size: of a minibatch, or None.
        seed: 0 is the notebook's.
        partitionable: how JAX's threefry counts; False as the notebook had it.
    """
    import jax

    with jax.enable_x64(True), jax.threefry_partitionable(partitionable):
        key, theta_key = jax.random.split(jax.random.PRNGKey(seed))
        input_key, output_key = jax.random.split(theta_key, 2)
        weights = jax.random.normal(input_key, (width, width))
        readout = jax.random.normal(output_key, (width, 1))
        key, feature_key = jax.random.split(key)
        features = jax.random.normal(feature_key, (data_count, width))
        key, target_key = jax.random.split(key)
        targets = jax.random.normal(target_key, (data_count, 1))
        batches = np.zeros((0, 0), np.int64)
        if batch_size is not None:
            keys = jax.random.split(jax.random.PRNGKey(BATCH_KEY + seed), steps)
            drawn = jax.vmap(lambda key: jax.random.randint(key, (batch_size,), 0, data_count))(keys)
            batches = np.array(drawn, np.int64)
        return Draws(np.array(weights), np.array(readout)[:, 0], np.array(features), np.array(targets)[:, 0], batches)
