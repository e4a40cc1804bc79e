"""Generation with the key-value cache: temperature, top-k and nucleus sampling.

B = rows, P = prompt length, N = new tokens, V = vocabulary. Sampling: top-k as in Fan et al. (arXiv:1805.04833),
nucleus as in Holtzman et al. (arXiv:1904.09751), both on the distribution after the temperature.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from models.lm.network import DecoderLM

END_ID = 1
EXCLUDED = -1e30
FARTHEST = 200.0  # a logit this far below the largest has no share in float32


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
        logits_BV = jnp.where(_leads(logits_BV, jnp.ones_like(logits_BV), sampling.top_k), logits_BV, EXCLUDED)
    if sampling.top_p < 1:
        stays_BV = _leads(logits_BV, jax.nn.softmax(logits_BV), sampling.top_p)
        logits_BV = jnp.where(stays_BV, logits_BV, EXCLUDED)
    return logits_BV


def _leads(logits_BV: jax.Array, weight_BV: jax.Array, limit: float) -> jax.Array:
    """Which tokens have less than `limit` of weight in the more probable ones; bool [B, V].

    These are the tokens above some number, found by bisection: a few passes over the logits, where a CPU's sort or
    top-k takes many times as long. It ends where the weight above is the limit itself, or no number lies between.
    """
    top_B1 = jnp.max(logits_BV, axis=-1, keepdims=True)
    least_B1 = jnp.maximum(jnp.min(logits_BV, axis=-1, keepdims=True), top_B1 - FARTHEST)
    low_B1 = jnp.nextafter(least_B1, jnp.full_like(least_B1, -jnp.inf))

    def unsettled(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return jnp.any(carry[2])

    def halve(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        low_B1, high_B1, _ = carry
        middle_B1 = 0.5 * (low_B1 + high_B1)
        above_B1 = jnp.sum(jnp.where(logits_BV > middle_B1, weight_BV, 0.0), axis=-1, keepdims=True)
        enough = above_B1 >= limit
        unsettled_B1 = (above_B1 != limit) & (middle_B1 > low_B1) & (middle_B1 < high_B1)
        return jnp.where(enough, middle_B1, low_B1), jnp.where(enough, high_B1, middle_B1), unsettled_B1

    return logits_BV > jax.lax.while_loop(unsettled, halve, (low_B1, top_B1, top_B1 == top_B1))[0]


def draw(keys: jax.Array, logits_BV: jax.Array, sampling: Sampling) -> jax.Array:
    """One token of each row.

    Args:
        keys: one PRNG key for all rows, or one for each of them, [B].
        logits_BV: float [B, V].
        sampling: how they are drawn.

    Returns:
        int32 [B].
    """
    if sampling.temperature == 0:
        return first_largest(logits_BV)
    # one number for a row, not one for each token: on a CPU those would cost more than a small model does
    uniform_B = jax.vmap(jax.random.uniform)(keys) if keys.ndim else jax.random.uniform(keys, logits_BV.shape[:1])
    return _quantile(uniform_B, jax.nn.softmax(restricted(logits_BV, sampling)))


def _quantile(uniform_B: jax.Array, shares_BV: jax.Array) -> jax.Array:
    """The first place at which the sum of a row's shares exceeds that part of it: first the block, then the place.

    Returns:
        int32 [B]; never a place without a share.
    """
    rows, places = shares_BV.shape
    width = 1 << math.ceil(math.log2(places) / 2)
    blocks = -(-places // width)
    shares_BGC = jnp.pad(shares_BV, ((0, 0), (0, blocks * width - places))).reshape(rows, blocks, width)
    sums_BG = jnp.sum(shares_BGC, axis=-1)
    upto_BG = _sums_upto(sums_BG)
    wanted_B1 = uniform_B[:, None] * upto_BG[:, -1:]
    block_B1 = _first_above(upto_BG, sums_BG, wanted_B1)
    inner_BC = jnp.take_along_axis(shares_BGC, block_B1[:, :, None], axis=1)[:, 0]
    before_B1 = jnp.take_along_axis(upto_BG - sums_BG, block_B1, axis=1)
    place_B1 = _first_above(_sums_upto(inner_BC), inner_BC, wanted_B1 - before_B1)
    return (block_B1 * width + place_B1)[:, 0].astype(jnp.int32)


def _sums_upto(shares_BC: jax.Array) -> jax.Array:
    """Cumulative sums, as a product with a triangle: XLA's own are slow on a CPU."""
    size = shares_BC.shape[1]
    return jnp.matmul(shares_BC, jnp.triu(jnp.ones((size, size), shares_BC.dtype)), precision="highest")


def _first_above(upto_BC: jax.Array, shares_BC: jax.Array, wanted_B1: jax.Array) -> jax.Array:
    """The first place with a share whose sum is above what is wanted; the fullest where rounding leaves none."""
    upto_BC = jnp.where(shares_BC > 0, upto_BC, -1.0)
    fullest_B1 = jnp.max(upto_BC, axis=-1, keepdims=True)
    above_BC = (upto_BC > wanted_B1) | (upto_BC == fullest_B1)
    return first_largest(above_BC.astype(jnp.float32))[:, None]


def first_largest(values_BC: jax.Array) -> jax.Array:
    """Where each row is largest, the first place of several, int32 [B]; far faster than argmax on a CPU."""
    places = jnp.arange(values_BC.shape[-1], dtype=jnp.int32)
    largest_B1 = jnp.max(values_BC, axis=-1, keepdims=True)
    return jnp.min(jnp.where(values_BC == largest_B1, places[None], values_BC.shape[-1] - 1), axis=-1)


def empty_cache(network: DecoderLM, params: Any, rows: int, length: int) -> Any:
    """A key-value cache for `length` positions of each row, zeros."""
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    make = lambda tokens: network.apply({"params": params}, tokens, decode=True, mutable=["cache"])[1]["cache"]  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make, tokens))


def aligned(tokens_BL: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """Rows padded behind as rows padded in front, as the cache wants them; [B, L] to [B, L]."""
    length = tokens_BL.shape[1]
    return jnp.take_along_axis(tokens_BL, (jnp.arange(length)[None] + lengths_B[:, None]) % length, axis=1)


def read(
    network: DecoderLM, params: Any, tokens_BL: jax.Array, lengths_B: jax.Array, length: int
) -> tuple[jax.Array, Any]:
    """Reads prompts into a new cache, in one forward pass.

    Args:
        network: the model.
        params: its parameters.
        tokens_BL: int [B, L], padded in front.
        lengths_B: how many of each row are real, the last ones, int [B].
        length: positions that each row of the cache has, at least L.

    Returns:
        The logits after each prompt, float [B, V], and the cache.
    """
    logits_B1V, changed = network.apply(
        {"params": params}, tokens_BL, decode=True, lengths_B=lengths_B, last_only=True, mutable=["cache"]
    )
    free = ((0, 0), (0, 0), (0, length - tokens_BL.shape[1]), (0, 0))
    cache = jax.tree.map(lambda leaf: jnp.pad(leaf, free) if leaf.ndim == 4 else leaf, changed["cache"])
    return cast(jax.Array, logits_B1V)[:, 0], cache


def extend(
    network: DecoderLM, params: Any, cache: Any, tokens_BL: jax.Array, lengths_B: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """Reads tokens behind those in the cache.

    Args:
        network: the model.
        params: its parameters.
        cache: from `empty_cache`, `read` or an earlier call, with room for L more; a single token finds room always,
            in the place of the oldest.
        tokens_BL: int [B, L].
        lengths_B: how many of each row are real, the first ones, int [B]; for an empty cache only, since a row's
            positions lie side by side. None means all.

    Returns:
        The logits after each token, float [B, L, V], and the cache with them.
    """
    if lengths_B is not None:
        tokens_BL = aligned(tokens_BL, lengths_B)
    logits, changed = network.apply(
        {"params": params, "cache": cache}, tokens_BL, decode=True, lengths_B=lengths_B, mutable=["cache"]
    )
    logits_BLV = jnp.asarray(logits)
    if lengths_B is not None:  # back to where the caller's tokens are
        length = tokens_BL.shape[1]
        back_BL = (jnp.arange(length)[None] - lengths_B[:, None]) % length
        logits_BLV = jnp.take_along_axis(logits_BLV, back_BL[:, :, None], axis=1)
    return logits_BLV, changed["cache"]


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
    last_BV, cache = read(network, params, aligned(prompts_BP, lengths_B), lengths_B, prompt_length + new_tokens)

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
