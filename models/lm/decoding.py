"""Generation with the key-value cache: temperature, top-k and nucleus sampling.

B = rows, P = prompt length, N = new tokens, V = vocabulary. Sampling: top-k as in Fan et al. (arXiv:1805.04833),
nucleus as in Holtzman et al. (arXiv:1904.09751), both on the distribution after the temperature.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.lm.network import DecoderLM

END_ID = 1
EXCLUDED = -1e30


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: divides the logits; 0 takes the most probable token.
        top_k: only the k most probable tokens may be drawn; 0 allows all.
        top_p: only the fewest tokens whose probabilities reach p may be drawn; 1 allows all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"Sampling.temperature must not be negative, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"Sampling.top_k must not be negative, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"Sampling.top_p must be above 0 and at most 1, got {self.top_p}")


class Generated(NamedTuple):
    """Rows of new tokens.

    Attributes:
        tokens: int32 [B, N]; 0 after a row's end.
        log_probabilities: float32 [B, N], of each token under the model itself (temperature 1, nothing left out);
            0 after a row's end.
        lengths: int32 [B], new tokens of each row, its end id included.
    """

    tokens: jax.Array
    log_probabilities: jax.Array
    lengths: jax.Array


def restricted(logits_BV: jax.Array, sampling: Sampling) -> jax.Array:
    """The logits that are drawn from: divided by the temperature, what may not be drawn far down; float [B, V]."""
    logits_BV = logits_BV / (sampling.temperature or 1.0)
    if sampling.top_k and sampling.top_k < logits_BV.shape[-1]:
        least_B1 = jax.lax.top_k(logits_BV, sampling.top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV >= least_B1, logits_BV, EXCLUDED)
    if sampling.top_p < 1:
        falling_BV = jnp.sort(logits_BV, axis=-1)[:, ::-1]
        shares_BV = jax.nn.softmax(falling_BV)
        before_BV = jnp.cumsum(shares_BV, axis=-1) - shares_BV  # a token stays while those before it fall short of p
        least_B1 = jnp.min(jnp.where(before_BV < sampling.top_p, falling_BV, jnp.inf), axis=-1, keepdims=True)
        logits_BV = jnp.where(logits_BV >= least_B1, logits_BV, EXCLUDED)
    return logits_BV


def draw(key: jax.Array, logits_BV: jax.Array, sampling: Sampling) -> jax.Array:
    """One token of each row; float [B, V] to int32 [B]."""
    allowed_BV = restricted(logits_BV, sampling)
    if sampling.temperature == 0:
        return jnp.argmax(allowed_BV, axis=-1).astype(jnp.int32)
    return jax.random.categorical(key, allowed_BV).astype(jnp.int32)


def empty_cache(network: DecoderLM, params: Any, rows: int, length: int) -> Any:
    """A key-value cache for `length` positions of each row, zeros."""
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    make = lambda tokens: network.apply({"params": params}, tokens, decode=True, mutable=["cache"])[1]["cache"]  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make, tokens))


def extend(
    network: DecoderLM, params: Any, cache: Any, tokens_BL: jax.Array, lengths_B: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """Reads tokens behind those in the cache.

    Args:
        network: the model.
        params: its parameters.
        cache: from `empty_cache` or an earlier call.
        tokens_BL: int [B, L].
        lengths_B: how many of each row are real, int [B]; None means all.

    Returns:
        The logits after each token, float [B, L, V], and the cache with them.
    """
    logits, changed = network.apply(
        {"params": params, "cache": cache}, tokens_BL, decode=True, lengths_B=lengths_B, mutable=["cache"]
    )
    return jnp.asarray(logits), changed["cache"]


@functools.partial(jax.jit, static_argnames=("network", "new_tokens", "sampling", "end_id"))
def generate(
    network: DecoderLM,
    params: Any,
    prompts_BP: jax.Array,
    lengths_B: jax.Array,
    key: jax.Array,
    *,
    new_tokens: int,
    sampling: Sampling = Sampling(),
    end_id: int = END_ID,
) -> Generated:
    """Continues prompts of unequal length, one forward step a token.

    Args:
        network: the model.
        params: its parameters.
        prompts_BP: int [B, P], padded behind; as the model reads them, so beginning with its start id.
        lengths_B: real tokens of each prompt, at least 1.
        key: a JAX PRNG key.
        new_tokens: N, the most to generate.
        sampling: how tokens are drawn.
        end_id: a row that draws it stops; -1 for a model that has none.

    Returns:
        What was generated.
    """
    rows, prompt_length = prompts_BP.shape
    cache = empty_cache(network, params, rows, prompt_length + new_tokens)
    logits_BPV, cache = extend(network, params, cache, prompts_BP, lengths_B)
    last_BV = jnp.take_along_axis(logits_BPV, (lengths_B - 1)[:, None, None], axis=1)[:, 0]

    def step(carry: tuple[Any, jax.Array, jax.Array], key: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
        cache, logits_BV, ended_B = carry
        token_B = draw(key, logits_BV, sampling)
        log_p_B = jnp.take_along_axis(jax.nn.log_softmax(logits_BV), token_B[:, None], axis=1)[:, 0]
        shown = jnp.where(ended_B, 0, token_B), jnp.where(ended_B, 0.0, log_p_B), ~ended_B
        logits_B1V, cache = extend(network, params, cache, token_B[:, None])
        return (cache, logits_B1V[:, 0], ended_B | (token_B == end_id)), shown

    carry = cache, last_BV, jnp.zeros(rows, bool)
    _, (tokens_NB, log_p_NB, alive_NB) = jax.lax.scan(step, carry, jax.random.split(key, new_tokens))
    return Generated(tokens_NB.T, log_p_NB.T, jnp.sum(alive_NB, axis=0, dtype=jnp.int32))
