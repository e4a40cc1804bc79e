"""The code made for language models: where its tokens may end, how many are phrases, what their choice is worth."""

import re

import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.codes import pruned, words
from models.equal_info.explore import MAX_TOKEN_BYTES, Candidates, most_probable
from models.equal_info.longest_match import LongestMatch
from models.equal_info.m1 import M1
from models.equal_info.proxy import bigram_bits_per_byte
from models.equal_info.trie import trie_of_strings

UNIT = re.compile(rb"[A-Za-z\x80-\xff]+|[0-9]+|[ \t\n\r]+|[ \t]?[^A-Za-z0-9\x80-\xff \t\n\r]+")
SIZE = 2048


@pytest.fixture(scope="module")
def candidates(small_m1: M1) -> Candidates:
    return most_probable(small_m1, 40_000, 16)


@pytest.fixture(scope="module")
def codec(candidates: Candidates, code_text: np.ndarray) -> Codec:
    return Codec(words.prune(candidates, code_text, SIZE), scheme="words", window_bits=16)


def test_every_token_is_one_unit_or_ends_where_no_word_goes_on(codec: Codec) -> None:
    strings = codec.dictionary.code_strings()
    phrases = [string for string in strings if string and not UNIT.fullmatch(string)]
    assert all(not re.search(rb"[A-Za-z0-9\x80-\xff]\Z", phrase) for phrase in phrases)
    assert 0.5 * words.PHRASES * SIZE**0.5 < len(phrases) <= words.PHRASES * SIZE**0.5
    assert any(phrase.endswith(b" ") for phrase in phrases)


def test_the_vocabulary_is_full_and_holds_every_byte(codec: Codec) -> None:
    strings = codec.dictionary.code_strings()
    assert len(set(strings)) == codec.vocab_size == SIZE
    assert {bytes([byte]) for byte in range(256)} <= set(strings)


@pytest.mark.parametrize(
    ("string", "shape"),
    [
        (b"word", words.LETTERS),
        (b"\xc3\xa9t\xc3\xa9", words.LETTERS),
        (b"2024", words.DIGITS),
        (b"__", words.MARKS),
        (b" ==", words.MARKS),
        (b"  ==", words.PHRASE),
        (b"\n    ", words.WHITE),
        (b"the ", words.PHRASE),
        (b" the", words.PHRASE),
        (b"utf8", words.PHRASE),
        (b"a_b", words.PHRASE),
        (b"):\n    ", words.PHRASE),
    ],
)
def test_shapes_of_strings(string: bytes, shape: int) -> None:
    trie = trie_of_strings([string])
    assert trie.string(len(trie) - 1) == string
    assert words.shapes(trie)[-1] == shape


def test_segments_as_brute_force_longest_match_does(codec: Codec, code_text: np.ndarray) -> None:
    codes_of = {string: code for code, string in enumerate(codec.dictionary.code_strings())}
    text = code_text[:40_000].tobytes() + bytes(range(256)) + b" " * 300 + b"in these in the_"
    expected, at = [], 0
    while at < len(text):
        size = next(n for n in range(min(MAX_TOKEN_BYTES, len(text) - at), 0, -1) if text[at : at + n] in codes_of)
        expected.append(codes_of[text[at : at + size]])
        at += size
    assert words.segment(codec.dictionary, np.frombuffer(text, np.uint8)).tolist() == expected
    assert codec.encode(text).tolist() == expected
    assert codec.decode(codec.encode(text)) == text


def test_is_deterministic(candidates: Candidates, codec: Codec, code_text: np.ndarray) -> None:
    again = words.prune(candidates, code_text.copy(), SIZE)
    assert again.code_strings() == codec.dictionary.code_strings()


def test_bits_saved_is_what_the_text_takes_more_without_a_token() -> None:
    """Each token in turn is really removed; none of these holds one piece twice, and none starts another."""
    trie = trie_of_strings([*(bytes([byte]) for byte in range(256)), b"ab", b"cde", b"xy"])
    tokens = np.array([len(string) in (1, 3) or string in (b"ab", b"xy") for string in trie.strings()])
    match = LongestMatch(trie)
    text = np.frombuffer(b"abcde" * 7 + b"xyab" * 5 + b"edcba" * 3, np.uint8)
    pieces = match.nodes(tokens, text)
    saved = words.bits_saved(match, tokens, pieces)
    for node in np.flatnonzero(tokens & (trie.depth > 1)):
        fewer = tokens.copy()
        fewer[node] = False
        shares = np.bincount(without := match.nodes(fewer, text))[without] / len(without)
        expected = -np.log2(shares).sum()
        assert expected - words.unigram_bits(pieces) == pytest.approx(saved[node], abs=1e-6)
    assert np.isinf(saved[1:257]).all()


def test_parts_spell_their_tokens(candidates: Candidates) -> None:
    trie = candidates.trie
    tokens = np.random.default_rng(0).random(len(trie)) < 0.2
    tokens[trie.depth == 1] = True
    tokens[0] = False
    parts, starts = LongestMatch(trie).parts(tokens)
    strings = trie.strings()
    assert len(starts) == len(trie) + 1
    for node in range(len(trie)):
        spelled = b"".join(strings[part] for part in parts[starts[node] : starts[node + 1]])
        assert spelled == (strings[node] if tokens[node] and trie.depth[node] > 1 else b"")


def test_is_more_learnable_than_pruned_and_nearly_as_dense(
    candidates: Candidates, codec: Codec, code_text: np.ndarray
) -> None:
    train, held_out = (part.tobytes() for part in np.split(code_text, [len(code_text) * 3 // 4]))
    bits, tokens = {}, {}
    for name, module in (("words", words), ("pruned", pruned)):
        made = Codec(module.prune(candidates, np.frombuffer(train, np.uint8), SIZE), scheme=name, window_bits=16)
        rows = [made.encode(held_out)]
        tokens[name] = len(rows[0])
        bits[name] = bigram_bits_per_byte(
            [made.encode(train)], rows, vocab_size=made.vocab_size, test_bytes=len(held_out)
        )
    assert bits["words"] < 0.97 * bits["pruned"]
    assert tokens["words"] < 1.15 * tokens["pruned"]
