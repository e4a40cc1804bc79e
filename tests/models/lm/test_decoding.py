"""Decoding: the cache changes nothing, and draws come from the distribution that was asked for."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.lm.decoding import Sampling, draw, empty_cache, extend, generate, restricted

CONFIG = LMConfig(vocab_size=13, width=16, layers=2, heads=2, head_width=8, mlp_width=32, max_distance=5)
NETWORK = DecoderLM(CONFIG)
PARAMS = NETWORK.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
TOKENS = jax.random.randint(jax.random.key(1), (3, 12), 2, 13)


def _uncached(tokens: jax.Array) -> np.ndarray:
    return np.asarray(NETWORK.apply({"params": PARAMS}, tokens))


def test_one_token_at_a_time_equals_the_uncached_forward() -> None:
    cache = empty_cache(NETWORK, PARAMS, 3, 12)
    seen = []
    for place in range(12):
        logits, cache = extend(NETWORK, PARAMS, cache, TOKENS[:, place : place + 1])
        seen.append(logits[:, 0])
    np.testing.assert_allclose(np.stack(seen, 1), _uncached(TOKENS), atol=1e-5)


def test_the_cache_holds_activations_of_the_models_type() -> None:
    network = DecoderLM(replace(CONFIG, dtype="bfloat16"))
    cache = empty_cache(network, PARAMS, 3, 12)
    assert cache["attention_0"]["cached_key"].dtype == jnp.bfloat16
    logits, _ = extend(network, PARAMS, cache, TOKENS)
    whole: Any = network.apply({"params": PARAMS}, TOKENS)
    np.testing.assert_allclose(logits, whole, atol=0.05)


def test_prompts_of_unequal_length_then_tokens_equal_the_uncached_forward() -> None:
    lengths = jnp.array([7, 3, 5])
    cache = empty_cache(NETWORK, PARAMS, 3, 12)
    logits, cache = extend(NETWORK, PARAMS, cache, TOKENS[:, :7], lengths)
    more, cache = extend(NETWORK, PARAMS, cache, jnp.stack([TOKENS[r, n : n + 4] for r, n in enumerate([7, 3, 5])]))
    for row, length in enumerate([7, 3, 5]):
        whole = _uncached(TOKENS[row : row + 1, : length + 4])[0]
        np.testing.assert_allclose(logits[row, :length], whole[:length], atol=1e-5)
        np.testing.assert_allclose(more[row], whole[length:], atol=1e-5)
    np.testing.assert_array_equal(cache["attention_0"]["cache_index"], [11, 7, 9])


def test_greedy_generation_is_the_argmax_of_the_uncached_forward() -> None:
    lengths = jnp.array([4, 2, 3])
    out = generate(NETWORK, PARAMS, TOKENS[:, :4], lengths, jax.random.key(0), new_tokens=6,
                   sampling=Sampling(temperature=0), end_id=-1)  # fmt: skip
    for row, length in enumerate([4, 2, 3]):
        sequence = TOKENS[row, :length].tolist()
        for token, log_p in zip(out.tokens[row].tolist(), out.log_probabilities[row].tolist(), strict=True):
            logits = _uncached(jnp.array([sequence]))[0, -1]
            assert token == logits.argmax()
            assert log_p == pytest.approx(float(jax.nn.log_softmax(logits)[token]), abs=1e-5)
            sequence.append(token)
    np.testing.assert_array_equal(out.lengths, [6, 6, 6])


def test_a_row_stops_at_its_end_id() -> None:
    quiet = jax.tree.map(jnp.zeros_like, PARAMS)  # blocks that add nothing, so that all is decided by the last matrix
    sure = {
        **quiet,
        "embedding": jnp.ones((13, 16)),
        "final_norm": {"scale": jnp.ones(16)},
        "logits": {"kernel": jnp.zeros((16, 13)).at[:, 1].set(50.0)},
    }
    out = generate(NETWORK, sure, TOKENS[:, :2], jnp.array([2, 2, 1]), jax.random.key(0), new_tokens=4)
    np.testing.assert_array_equal(out.tokens, [[1, 0, 0, 0]] * 3)
    np.testing.assert_array_equal(out.lengths, [1, 1, 1])
    assert np.all(np.asarray(out.log_probabilities)[:, 1:] == 0)


def test_top_k_keeps_k_and_nucleus_keeps_the_fewest_that_reach_p() -> None:
    logits = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1]]))
    kept = lambda sampling: (np.asarray(restricted(logits, sampling))[0] > -1e20).tolist()  # noqa: E731
    assert kept(Sampling(top_k=2)) == [True, True, False, False]
    assert kept(Sampling(top_p=0.6)) == [True, True, False, False]
    assert kept(Sampling(top_p=0.75)) == [True, True, True, False]
    assert kept(Sampling(top_p=0.05)) == [True, False, False, False]
    # the temperature comes first: at 0.5 the shares are 16 : 9 : 4 : 1, and one alone reaches 0.5
    assert kept(Sampling(temperature=0.5, top_p=0.5)) == [True, False, False, False]
    assert kept(Sampling()) == [True] * 4


def test_draws_follow_the_tempered_distribution() -> None:
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    logits = jnp.broadcast_to(jnp.log(jnp.array(shares, jnp.float32)), (20_000, 4))
    for temperature in (1.0, 0.5, 2.0):
        drawn = np.bincount(np.asarray(draw(jax.random.key(3), logits, Sampling(temperature))), minlength=4) / 20_000
        expected = shares ** (1 / temperature)
        np.testing.assert_allclose(drawn, expected / expected.sum(), atol=0.015)
    assert np.all(np.asarray(draw(jax.random.key(0), logits[:5], Sampling(0.0))) == 0)


def test_the_same_key_generates_the_same_text() -> None:
    def tokens(key: int) -> np.ndarray:
        lengths = jnp.array([2, 2, 2])
        out = generate(NETWORK, PARAMS, TOKENS[:, :2], lengths, jax.random.key(key), new_tokens=16, end_id=-1)
        return np.asarray(out.tokens)

    one, same, other = tokens(0), tokens(0), tokens(1)
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"top_p": 0.0}, "top_p"), ({"temperature": -1.0}, "temperature"), ({"top_k": -1}, "top_k")]
)
def test_impossible_samplings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)
