"""VeLO's network over tensors: what it sees of each, and the LSTM that answers for each (arXiv:2211.09760).

N = tensors, in the order of the parameters' leaves, K = momentum decays, W = the LSTM's width, B = networks of the
bank. Two quirks of the reference are kept, since the released weights were trained with them: `var_rms` is the mean
squared distance of rms from the mean of each momentum, and rms is scaled as the gradients are, not as their squares.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.learned_optimizers.accumulators import Moments
from models.learned_optimizers.interface import Key, Theta
from models.learned_optimizers.loss_features import FEATURES as LOSS_FEATURES

FRACTIONS = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
RANKS = 5
_PRECISION = jax.lax.Precision.HIGHEST


class LSTMState(NamedTuple):
    """The LSTM's memory of every tensor: float32 [N, W] each."""

    hidden: jax.Array
    cell: jax.Array


def width_of(momenta: int, rms: int) -> int:
    """How many features a tensor has: 30 for three momenta and one rms."""
    return len(FRACTIONS) + LOSS_FEATURES + RANKS + rms + 2 * momenta


def tensor_features(
    p: jax.Array, moments: Moments, shape: tuple[int, ...], fraction: jax.Array, losses: jax.Array
) -> jax.Array:
    """The features of a group's tensors, float32 [G, 30], in the order of the reference's sorted names.

    Args:
        p: parameters [G, *shape].
        moments: averages before this step's gradient.
        shape: of the parameters, () for scalars.
        fraction: steps done / steps in all, float32 [].
        losses: `loss_features`, [9].
    """
    axes = tuple(range(1, p.ndim))
    size_G = jax.lax.rsqrt(jnp.maximum(1e-9, jnp.mean(jnp.square(p), axes)))
    (rms,) = moments.rms
    mean_rms_G, var_rms_G = _mean_and_variance(rms, axes)
    pairs = [_mean_and_variance(m, axes) for m in moments.momentum]
    squared_G = jnp.square(size_G)
    var_m_GK = jnp.stack([variance * squared_G for _, variance in pairs], -1)
    # mean (rms - mean m)^2 = variance of rms + (mean rms - mean m)^2, without rounding away the small ones
    var_rms_GK = jnp.stack([(var_rms_G + jnp.square(mean_rms_G - mean)) * squared_G for mean, _ in pairs], -1)
    rank = jax.nn.one_hot(sum(length > 1 for length in shape), RANKS)
    same = {
        "fraction_left": jnp.tanh((fraction - jnp.asarray(FRACTIONS, jnp.float32)) * 10),
        "loss_features": losses,
        "rank": rank,
    }
    told = {name: jnp.broadcast_to(x, (p.shape[0], x.size)) for name, x in same.items()}
    told |= {
        "mean_rms": _clipped_log((mean_rms_G * size_G)[:, None]),
        "var_m": _clipped_log(var_m_GK),
        "var_rms": _clipped_log(var_rms_GK),
    }
    return jnp.concatenate([told[name].astype(jnp.float32) for name in sorted(told)], axis=-1)


def _mean_and_variance(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    mean = jnp.mean(x, axes, keepdims=True)
    return mean.reshape(-1), jnp.mean(jnp.square(x - mean), axes)


def _clipped_log(x: jax.Array) -> jax.Array:
    return jnp.clip(jnp.log(1e-8 + jnp.abs(x * 10.0)), -5, 5) * 0.5


def network(theta: Theta, features: jax.Array, state: LSTMState) -> tuple[jax.Array, jax.Array, LSTMState]:
    """What the LSTM says of each tensor.

    The reference computes a first layer and then replaces it; its weights, `unused`, are part of released theta but
    of no consequence. Its LSTM is Haiku's: gates in the order input, candidate, forget, output, with 1 added to forget.

    Args:
        theta: the meta-parameters' part "network".
        features: [N, 30].
        state: the memory.

    Returns:
        The weights of the bank's networks [N, B], the steps' multipliers [N], and the next memory.
    """
    pooled_NW = jax.nn.relu(_linear(theta["pooled"], features))
    x = _linear(theta["own"], features) + jnp.max(pooled_NW, axis=0, keepdims=True)
    gates = _linear(theta["lstm"], jnp.concatenate([x, state.hidden], axis=-1))
    enter, candidate, forget, leave = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget + 1) * state.cell + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
    hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
    return _linear(theta["mixture"], hidden), _linear(theta["step_size"], hidden)[:, 0], LSTMState(hidden, cell)


def _linear(layer: Any, x: jax.Array) -> jax.Array:
    return jnp.matmul(x, layer["w"], precision=_PRECISION) + layer["b"][None]


def initial_network(key: Key, features: int, width: int, bank: int) -> Theta:
    """Random weights of `network`: normal, cut at two deviations of 1 / sqrt(inputs); biases 0."""
    sizes = {
        "unused": (features, width),
        "pooled": (features, width),
        "own": (features, width),
        "lstm": (2 * width, 4 * width),
        "mixture": (width, bank),
        "step_size": (width, 1),
    }
    keys = dict(zip(sizes, jax.random.split(key, len(sizes)), strict=True))
    return {name: {"w": initial_weights(keys[name], size), "b": jnp.zeros(size[1])} for name, size in sizes.items()}


def initial_weights(key: Key, size: tuple[int, int], inputs: int | None = None) -> jax.Array:
    """A layer's random weights, normal, cut at two deviations of 1 / sqrt(inputs); float32, as the reference has them.

    Args:
        key: of the randomness.
        size: (inputs, outputs).
        inputs: what to take for the inputs' count; None: as many as there are.
    """
    return jax.random.truncated_normal(key, -2.0, 2.0, size) / jnp.sqrt(float(inputs or size[0]))
