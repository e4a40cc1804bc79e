"""The learnability proxy against a hand count, and edit stability on codes whose answer is known."""

import math

import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from models.equal_info.proxy import bigram_bits_per_byte
from models.equal_info.stability import (
    edit_distances,
    edit_stability,
    prefix_stability,
    repeated_share,
    sequences_of_word,
)

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


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("abcdef", "azced", 3), ("ab", "ba", 2)],
)
def test_edit_distances_are_levenshteins(one: str, other: str, distance: int) -> None:
    rows = [np.array([*map(ord, text)], np.int64) for text in (one, other)]
    assert edit_distances(rows[:1], rows[1:]).tolist() == [distance]


def test_edit_distances_of_many_pairs_are_those_of_each() -> None:
    generator = np.random.default_rng(0)
    ones, others = ([generator.integers(0, 3, size) for size in generator.integers(0, 9, 40)] for _ in range(2))
    together = edit_distances(ones, others)
    assert together.tolist() == [int(edit_distances([a], [b])[0]) for a, b in zip(ones, others, strict=True)]
    assert together.tolist() == edit_distances(others, ones).tolist()


def _bytes_of(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8).astype(np.int64)


def test_one_byte_tokens_differ_by_the_prefix_and_a_chain_differs_everywhere() -> None:
    sentence, prefixes = b"abcabc", [b"x", b"y", b"z"]
    told = prefix_stability(_bytes_of, sentence, prefixes)
    assert (told.distance, told.share, told.sequences, told.prefixes) == (1.0, 1 / 7, 3, 3)
    chained = prefix_stability(lambda text: np.cumsum(_bytes_of(text)), sentence, prefixes)  # all behind is moved
    assert chained.distance > 5
    same = prefix_stability(lambda text: _bytes_of(text[1:]), sentence, prefixes)
    assert (same.distance, same.sequences) == (0.0, 1)


def test_the_tokens_that_cover_a_word_are_counted_by_context() -> None:
    """Pairs of bytes: a word of four begins at an even place, or is parted otherwise at an odd one."""

    def pairs(text: bytes) -> np.ndarray:
        padded = text + b" " * (len(text) % 2)
        return np.frombuffer(padded, ">u2").astype(np.int64)

    def ends(tokens: np.ndarray) -> np.ndarray:
        return 2 * np.arange(1, len(tokens) + 1)

    told = sequences_of_word(pairs, ends, b"word", [b"a word!", b"aword", b"abword", b"xyword", b"nothing"])
    assert told == {tuple(pairs(b"word").tolist()): 3, tuple(pairs(b"aword ").tolist()): 1}


def test_repeated_tokens_are_counted_over_all_documents() -> None:
    assert repeated_share([np.array([1, 2]), np.array([2, 3, 4])]) == 1 / 4
