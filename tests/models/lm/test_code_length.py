"""Exact code lengths: what is counted, and a uniform model's closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.lm.code_length import pieces_of, token_nats
from seqio_tasks.metrics import bits_per_byte

DOCUMENTS = [np.array([5, 6, 7, 8, 9, 1]), np.array([1]), np.array([4, 3, 1])]


def _model(vocab_size: int) -> tuple[DecoderLM, Any]:
    network = DecoderLM(LMConfig(vocab_size, width=8, layers=1, heads=1, head_width=8, mlp_width=8, max_distance=4))
    return network, network.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]


def test_pieces_hold_each_token_once_behind_what_it_may_see() -> None:
    inputs, targets = pieces_of(DOCUMENTS, 4)
    np.testing.assert_array_equal(targets, [[5, 6, 7, 8], [9, 1, 0, 0], [1, 0, 0, 0], [4, 3, 1, 0]])
    np.testing.assert_array_equal(inputs, [[1, 5, 6, 7], [0, 9, 1, 0], [1, 1, 0, 0], [1, 4, 3, 1]])


@pytest.mark.parametrize(("vocab_size", "context"), [(10, 1), (258, 512), (1026, 4), (4098, 4), (16386, 4)])
def test_a_uniform_models_bits_per_byte_are_the_closed_form(vocab_size: int, context: int) -> None:
    network, params = _model(vocab_size)
    uniform = {**params, "logits": {"kernel": jnp.zeros_like(params["logits"]["kernel"])}}
    nats, right = token_nats(network, uniform, DOCUMENTS, context=context)
    measured = bits_per_byte(float(nats.sum(dtype=np.float64)), text_bytes=37)
    assert measured == pytest.approx(10 * np.log2(vocab_size) / 37, rel=1e-6)
    assert right.sum() == 10  # all tokens tie for the most probable


def test_code_lengths_are_those_of_the_probabilities_token_by_token() -> None:
    network, params = _model(11)
    nats, right = token_nats(network, params, DOCUMENTS, context=4)
    by_hand, best = [], []
    for document in DOCUMENTS:
        for start in range(0, len(document), 4):
            seen = [1 if start == 0 else 0]
            for token in document[start : start + 4]:
                logits: Any = network.apply({"params": params}, jnp.array([seen]))
                by_hand.append(-float(jax.nn.log_softmax(logits[0, -1])[token]))
                best.append(int(logits[0, -1].argmax()) == token)
                seen.append(int(token))
    real = pieces_of(DOCUMENTS, 4)[1] != 0
    np.testing.assert_allclose(nats[real], by_hand, rtol=1e-4)
    np.testing.assert_array_equal(right[real], best)
    assert np.all(nats[~real] == 0)


def test_a_longer_context_changes_only_what_it_adds() -> None:
    network, params = _model(11)
    document = [np.arange(2, 11)]
    short, _ = token_nats(network, params, document, context=5)
    whole, _ = token_nats(network, params, document, context=9)
    np.testing.assert_allclose(short[0], whole[0, :5], rtol=1e-5)
    assert np.abs(short[1, :4] - whole[0, 5:]).max() > 1e-3


def test_an_empty_context_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        pieces_of(DOCUMENTS, 0)
