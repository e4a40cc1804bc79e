"""The learnability proxy against a hand count, and edit stability on codes whose answer is known."""

import math

import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from models.equal_info.proxy import bigram_bits_per_byte
from models.equal_info.stability import edit_stability

SINGLES = [bytes([byte]) for byte in range(256)]


def test_bigram_bits_equal_a_hand_count() -> None:
    """Train: 0 1 0 1; held out: 0 1. Border symbol 2; Witten-Bell as in the docstring."""
    train, test = [np.array([0, 1, 0, 1])], [np.array([0, 1])]
    unigram = {symbol: (count + 0.5) / (5 + 1.5) for symbol, count in ((0, 2), (1, 2), (2, 1))}
    first = (1 + 1 * unigram[0]) / 2  # after the border: one successor, seen once
    second = (2 + 1 * unigram[1]) / 3  # after 0: always 1, twice
    end = (1 + 2 * unigram[2]) / 4  # after 1: 0 once, border once
    expected = -sum(math.log2(p) for p in (first, second, end)) / 10
    assert bigram_bits_per_byte(train, test, vocab_size=2, test_bytes=10) == pytest.approx(expected, rel=1e-12)


def test_an_unseen_token_falls_back_to_the_unigram() -> None:
    """Token 3 was never seen, so what follows it has its unigram share: (0.5 + count) / (total + 0.5 symbols)."""
    train = [np.array([0, 1, 0, 1])]
    alone, followed = (
        bigram_bits_per_byte(train, [np.array(row)], vocab_size=4, test_bytes=1) for row in ([3], [3, 3])
    )
    assert followed - alone == pytest.approx(-math.log2(0.5 / (5 + 0.5 * 5)), rel=1e-9)


def test_one_byte_tokens_change_by_exactly_the_edit() -> None:
    codec = Codec(dictionary_of_strings(SINGLES), scheme="full")
    text = np.random.default_rng(0).integers(128, 256, 3000).astype(np.uint8).tobytes()
    found = edit_stability(codec.encode, codec.decoded_size, [text], edits=50)
    assert (found.changed_tokens, found.changed_bytes, found.resynchronised) == (1.0, 1.0, 1.0)


def test_a_code_that_never_comes_back_in_step_says_so() -> None:
    """Pairs of one letter: an odd insertion shifts every pair after it."""
    letters = [bytes([97 + i, 97 + (i + 1) % 26]) for i in range(26)]
    codec = Codec(dictionary_of_strings([*SINGLES, *letters]), scheme="full")
    text = bytes(97 + i % 26 for i in range(2000))
    found = edit_stability(codec.encode, codec.decoded_size, [text], edits=40)
    assert found.changed_tokens > 100


def test_too_little_text_is_refused() -> None:
    codec = Codec(dictionary_of_strings(SINGLES), scheme="full")
    with pytest.raises(ValueError, match="200 bytes"):
        edit_stability(codec.encode, codec.decoded_size, [b"short"])
