"""A modern linear recurrence as a learner: gated delta rule blocks (arXiv:2412.06464) on embedded examples.

The paper of in-context learning (arXiv:2212.04458) asks which networks of little state learn to learn; it has none of
these. Each layer has heads * head_width^2 + 3 * width floats of state. B = batch, N = positions, T = positions read
and the 3 before, D = width, H = heads, K = head width.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning
from jax.scipy.linalg import solve_triangular

from models.in_context.learner_config import LearnerConfig
from models.in_context.lstm import Affine
from models.in_context.recurrent import RecurrentLearner
from models.in_context.transformer import decoder_config
from models.lm.layers import GatedMLP, Projection, RMSNorm, as_type
from models.lm.network import to_logits

TAPS = 4  # positions that the short convolution sees
CHUNK = 64  # most positions of one triangular system: the CPU's solver is tens of times slower from 100 on
FASTEST, SLOWEST = 0.1, 0.001  # what heads forget at a position when new, the first least


class RecurrenceState(NamedTuple):
    """What one layer remembers, float32: its memory, and what its last 3 positions read."""

    memory_BHKK: jax.Array
    window_B3D: jax.Array


class DeltaMixer(nn.Module):
    """The recurrence of one layer.

    q, k and v are projections of the normed positions, each of whose channels is convolved over the last 4 positions
    and put through silu; q and k then have length 1. So a key may be of the example before while the value is its
    label, which comes one position later. New keys are that already: learning starts sooner. With decay
    exp(-softplus(u W_a + b_a)) and strength sigmoid(u W_s + b_s), one of each a head, see `delta_rule` for the memory's
    outputs r. Out comes (RMSNorm(r) * silu(u W_g)) W_o.
    """

    config: LearnerConfig

    @nn.compact
    def __call__(self, state: RecurrenceState, u_BND: jax.Array) -> tuple[RecurrenceState, jax.Array]:
        """Mixes positions with those before; float [B, N, D] to the state after them and float [B, N, D]."""
        c = self.config
        heads, size = c.heads, c.head_width
        u_BTD = jnp.concatenate([state.window_B3D.astype(u_BND.dtype), u_BND], 1)
        project = lambda name: Projection((heads, size), ("embed", "heads", "kv"), dtype=c.dtype, name=name)  # noqa: E731
        convolved = []
        for name, tap in (("query", 0), ("key", 1), ("value", 0)):
            init = functools.partial(_at_tap, tap)
            axes = ("stack", "heads", "kv")
            taps_4HK = partitioning.param_with_axes(f"{name}_taps", init, (TAPS, heads, size), axes=axes)
            convolved.append(nn.silu(convolve(project(name)(u_BTD).astype(jnp.float32), taps_4HK)))
        q, k, v = convolved
        wide = u_BND.astype(jnp.float32)
        bias_H = partitioning.param_with_axes("decay_bias", _forgetting, (heads,), axes=("heads",))
        decay = Projection((heads,), ("embed", "heads"), name="decay")(wide) + bias_H[None, None]
        strength = nn.sigmoid(Affine((heads,), ("embed", "heads"), name="strength")(wide))
        memory, read = delta_rule(_unit(q), _unit(k), v, -nn.softplus(decay), strength, state.memory_BHKK)
        gated = as_type(RMSNorm(name="read_norm")(read), c.dtype) * nn.silu(project("gate")(u_BND))
        out = Projection((c.width,), ("heads", "kv", "embed"), contracted=2, dtype=c.dtype, name="out")(gated)
        return RecurrenceState(memory, u_BTD[:, -(TAPS - 1) :].astype(jnp.float32)), out


class LinearRecurrence(RecurrentLearner):
    """Pre-norm blocks of a delta rule memory and the shared gated MLP; all positions at once, or step by step."""

    def first_state(self, batch: int) -> tuple[RecurrenceState, ...]:
        """Nothing read yet: zeros, for each layer."""
        c = self.config
        memory = jnp.zeros((batch, c.heads, c.head_width, c.head_width))
        window = jnp.zeros((batch, TAPS - 1, c.width))
        return tuple(RecurrenceState(memory, window) for _ in range(c.layers))

    @nn.compact
    def extend(self, state: Any, x_BNF: jax.Array, previous_BNC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads some more examples; the state after them, and float32 logits [B, N, C]."""
        c, sizes = self.config, decoder_config(self.config)
        u_BND = Projection((c.width,), ("features", "embed"), dtype=c.dtype, name="example")(x_BNF)
        u_BND += Projection((c.width,), ("classes", "embed"), dtype=c.dtype, name="label")(previous_BNC)
        states = []
        for layer in range(c.layers):
            mixer, normed = DeltaMixer(c, name=f"mixer_{layer}"), RMSNorm(name=f"mixer_norm_{layer}")(u_BND)
            next_state, mixed = mixer(state[layer], normed)
            u_BND += mixed
            u_BND += GatedMLP(sizes, name=f"mlp_{layer}")(RMSNorm(name=f"mlp_norm_{layer}")(u_BND))
            states.append(next_state)
        return tuple(states), to_logits(sizes, u_BND)


def delta_rule(
    q_BNHK: jax.Array,
    k_BNHK: jax.Array,
    v_BNHK: jax.Array,
    log_decay_BNH: jax.Array,
    strength_BNH: jax.Array,
    memory_BHKK: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gated delta rule (arXiv:2412.06464 Eq. 10) for up to CHUNK positions at once, in float32.

    S_t = a_t S_(t-1) + k_t w_t^T with w_t = s_t (v_t - a_t S_(t-1)^T k_t); the output is S_t^T q_t. The memory S keeps
    for each key a value, and writes what is missing of it. Unrolled, with A_tj = a_(j+1) ... a_t: w_t = s_t (v_t - A_t0
    S_0^T k_t - sum over j < t of A_tj (k_j . k_t) w_j), a unit lower triangular system; A are exponents of sums
    that are never positive.

    Args:
        q_BNHK: queries.
        k_BNHK: keys, of length 1.
        v_BNHK: values.
        log_decay_BNH: log of a, 0 or less.
        strength_BNH: s, from 0 to 1.
        memory_BHKK: S before the first position, [keys, values].

    Returns:
        S after the last position, and outputs [B, N, H, K].
    """
    inputs, length = (q_BNHK, k_BNHK, v_BNHK, log_decay_BNH, strength_BNH), q_BNHK.shape[1]
    chunks = -(-length // CHUNK)
    if chunks == 1:
        return _delta_rule_at_once(memory_BHKK, inputs)
    size = -(-length // chunks)

    def cut(x_BN: jax.Array) -> jax.Array:
        """To [chunks, B, size, ...]; what is added at the end has strength 0 and forgets nothing."""
        filled = jnp.pad(x_BN, ((0, 0), (0, chunks * size - length), *((0, 0),) * (x_BN.ndim - 2)))
        return filled.reshape(-1, chunks, size, *x_BN.shape[2:]).swapaxes(0, 1)

    memory_BHKK, out = jax.lax.scan(_delta_rule_at_once, memory_BHKK, tuple(cut(x) for x in inputs))
    return memory_BHKK, out.swapaxes(0, 1).reshape(q_BNHK.shape[0], -1, *q_BNHK.shape[2:])[:, :length]


def _delta_rule_at_once(memory_BHKK: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    q_BNHK, k_BNHK, v_BNHK, log_decay_BNH, strength_BNH = inputs
    length = q_BNHK.shape[1]
    q, k, v = (x.swapaxes(1, 2) for x in (q_BNHK, k_BNHK, v_BNHK))  # [B, H, N, K]
    strength_BHN1 = strength_BNH.swapaxes(1, 2)[..., None]
    position = jnp.arange(length)
    past_NN = (position[:, None] >= position[None])[None, None]
    # the log of A_tj is summed for each j alone: differences of one long sum would be inexact
    after_BHNN = jnp.where(
        (position[:, None] > position[None])[None, None], log_decay_BNH.swapaxes(1, 2)[..., None], 0.0
    )
    decay_BHNN = jnp.exp(jnp.where(past_NN, jnp.cumsum(after_BHNN, 2), -jnp.inf))
    start_BHN1 = jnp.exp(jnp.cumsum(log_decay_BNH, 1)).swapaxes(1, 2)[..., None]
    wanted = strength_BHN1 * (v - start_BHN1 * (k @ memory_BHKK))
    system = strength_BHN1 * decay_BHNN * (k @ k.swapaxes(-1, -2))  # its diagonal and what is above count as 1 and 0
    written = solve_triangular(system, wanted, lower=True, unit_diagonal=True)
    out = start_BHN1 * (q @ memory_BHKK) + (decay_BHNN * (q @ k.swapaxes(-1, -2))) @ written
    kept = (decay_BHNN[..., -1, :, None] * k).swapaxes(-1, -2) @ written
    return start_BHN1[..., -1:, :] * memory_BHKK + kept, out.swapaxes(1, 2)


def convolve(x_BTHK: jax.Array, taps_4HK: jax.Array) -> jax.Array:
    """Each channel's weighted sum over a position and those before; float [B, T, H, K] to [B, T - 3, H, K].

    Args:
        x_BTHK: the positions, after 3 that only the first ones look back to.
        taps_4HK: weights, of the position itself first.
    """
    length = x_BTHK.shape[1] - TAPS + 1
    back = lambda tap: x_BTHK[:, TAPS - 1 - tap : TAPS - 1 - tap + length]  # noqa: E731
    return sum((back(tap) * taps_4HK[tap][None, None] for tap in range(1, TAPS)), back(0) * taps_4HK[0][None, None])


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-6)


def _at_tap(tap: int, key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Weights of about 1 at one tap and about 0 at the others."""
    return 0.1 * jax.random.normal(key, shape, dtype) + (jnp.arange(shape[0]) == tap)[:, None, None]


def _forgetting(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Biases whose softplus goes in equal ratios from SLOWEST to FASTEST."""
    del key
    return jnp.log(jnp.expm1(jnp.geomspace(SLOWEST, FASTEST, shape[0], dtype=dtype)))
