"""Rows that decode together and are given new prompts as they end: the compiled half of `models.lm.sampler`.

B = slots, S = columns of their cache, R = prompts read together, P = their padded length, H = heads, K = head width,
V = vocabulary, N = most new tokens.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.lm.decoding import Sampling, draw, empty_cache, extend, read
from models.lm.network import DecoderLM


class State(NamedTuple):
    """What the slots hold.

    Attributes:
        cache: keys and values, of S columns.
        token_B: the token that each reads next.
        seed_B2: the two words of each sample's seed, uint32.
        drawn_B: tokens that each sample has so far.
        alive_B: which slots are at work.
    """

    cache: Any
    token_B: jax.Array
    seed_B2: jax.Array
    drawn_B: jax.Array
    alive_B: jax.Array


class Prompts(NamedTuple):
    """Prompts that were read: their cache, without the last token of each, and those last tokens, [R]."""

    cache: Any
    last_R: np.ndarray


class Taken(NamedTuple):
    """What is put into slots: how many samples, and of each its slot, its place among the prompts, and its seed."""

    samples: np.int32
    slot_B: np.ndarray
    prompt_B: np.ndarray
    seed_B2: np.ndarray


@functools.partial(jax.jit, static_argnames=("network", "slots", "columns"))
def empty(network: DecoderLM, params: Any, *, slots: int, columns: int) -> State:
    """Slots that are all free."""
    zeros = jnp.zeros(slots, jnp.int32)
    cache = empty_cache(network, params, slots, columns)
    return State(cache, zeros, jnp.zeros((slots, 2), jnp.uint32), zeros, zeros > 0)


@functools.partial(jax.jit, static_argnames=("network", "columns"))
def _read(network: DecoderLM, params: Any, prompts_RP: jax.Array, lengths_R: jax.Array, *, columns: int) -> Any:
    return read(network, params, prompts_RP, lengths_R, columns)[1]


def read_prompts(
    network: DecoderLM, params: Any, prompts_RP: np.ndarray, lengths_R: np.ndarray, *, columns: int
) -> Prompts:
    """Reads prompts, but for the last token of each: their slots begin with that.

    Args:
        network: the model.
        params: its parameters.
        prompts_RP: int32 [R, P], padded in front; P at least 2.
        lengths_R: real tokens of each.
        columns: of the cache that is made, at least P - 1.
    """
    unread = jnp.asarray(prompts_RP[:, :-1]), jnp.asarray(lengths_R - 1)
    cache = _read(network, params, *unread, columns=columns)
    return Prompts(cache, prompts_RP[:, -1])


def _put(state: State, taken: Taken, prompts: Prompts) -> State:
    """Puts prompts into slots: their columns, turned so that they end where the slots' ring ends."""
    slot_B, prompt_B, seed_B2, last_R = map(jnp.asarray, (*taken[1:], prompts.last_R))

    def put_one(at: jax.Array, state: State) -> State:
        slot, prompt = slot_B[at], prompt_B[at]
        cache = {}
        for layer, cached in state.cache.items():
            source = prompts.cache[layer]
            turn = cached["cache_end"] - source["cache_end"]
            cache[layer] = {**cached, "cache_index": cached["cache_index"].at[slot].set(source["cache_index"][prompt])}
            for name in ("cached_key", "cached_value"):
                new_1HPK = jax.lax.dynamic_slice_in_dim(source[name], prompt, 1)
                columns, free = cached[name].shape[2], cached[name].shape[2] - new_1HPK.shape[2]
                new_1HSK = jnp.roll(jnp.pad(new_1HPK, ((0, 0), (0, 0), (0, free), (0, 0))), turn % columns, axis=2)
                cache[layer][name] = jax.lax.dynamic_update_slice_in_dim(cached[name], new_1HSK, slot, axis=0)
        return State(
            cache,
            state.token_B.at[slot].set(last_R[prompt]),
            state.seed_B2.at[slot].set(seed_B2[at]),
            state.drawn_B.at[slot].set(0),
            state.alive_B.at[slot].set(True),
        )

    return jax.lax.fori_loop(0, taken.samples, put_one, state)


@functools.partial(jax.jit, static_argnames=("network", "new_tokens", "sampling", "end_id"), donate_argnames=("state",))
def advance(
    network: DecoderLM,
    params: Any,
    state: State,
    taken: Taken,
    prompts: Prompts,
    enough: int,
    *,
    new_tokens: int,
    sampling: Sampling,
    end_id: int,
) -> tuple[State, jax.Array, jax.Array, jax.Array]:
    """Fills slots, then decodes until no more than `enough` slots are at work.

    Args:
        network: the model.
        params: its parameters.
        state: of the slots; it is used up.
        taken: what is put into slots that are free.
        prompts: what `taken` chooses from.
        enough: how many slots may still be at work when it stops.
        new_tokens: N; a sample ends when it has as many.
        sampling: how tokens are drawn.
        end_id: a sample that draws it ends.

    Returns:
        The state; the number of steps made, at most N; and each step's tokens, int32 [N, B], and log-probabilities
        under the model itself, float32 [N, B]. A slot's entries end with its sample.
    """
    state = _put(state, taken, prompts)

    def goes_on(carry: tuple[Any, ...]) -> jax.Array:
        return jnp.sum(carry[0].alive_B) > enough  # after N steps at the latest: what was at work has ended by then

    def decode(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        state, step, tokens_NB, log_p_NB = carry
        logits_B1V, cache = extend(network, params, state.cache, state.token_B[:, None])
        logits_BV = logits_B1V[:, 0]
        token_B = draw(keys_of(state.seed_B2, state.drawn_B), logits_BV, sampling)
        log_p_B = jnp.take_along_axis(logits_BV, token_B[:, None], axis=1)[:, 0] - jax.nn.logsumexp(logits_BV, axis=-1)
        drawn_B = state.drawn_B + state.alive_B
        alive_B = state.alive_B & (token_B != end_id) & (drawn_B < new_tokens)
        tokens_NB = jax.lax.dynamic_update_index_in_dim(tokens_NB, token_B, step, 0)
        log_p_NB = jax.lax.dynamic_update_index_in_dim(log_p_NB, log_p_B, step, 0)
        return State(cache, token_B, state.seed_B2, drawn_B, alive_B), step + 1, tokens_NB, log_p_NB

    shape = new_tokens, state.token_B.shape[0]
    carry = state, jnp.int32(0), jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)
    return jax.lax.while_loop(goes_on, decode, carry)


def keys_of(seed_B2: jax.Array, drawn_B: jax.Array) -> jax.Array:
    """The key of each row's next draw: from its sample's seed and the number of tokens that it has, [B]."""
    make = lambda seed, drawn: jax.random.fold_in(jax.random.wrap_key_data(seed, impl="threefry2x32"), drawn)  # noqa: E731
    return jax.vmap(make)(seed_B2, drawn_B)
