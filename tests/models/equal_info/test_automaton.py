"""The compiled automaton against the definition of longest match, on dictionaries made to be awkward."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.equal_info.automaton import LABEL_BITS, NO_LABEL, compile_dictionary
from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from models.equal_info.trie import subtrie, trie_of_edges, trie_of_strings

SINGLES = [bytes([byte]) for byte in range(256)]
few_letters = st.text("ab", max_size=60).map(str.encode)
awkward_words = st.lists(st.text("ab", min_size=2, max_size=9).map(str.encode), max_size=12)


def brute_force(words: set[bytes], text: bytes) -> list[bytes]:
    out, at = [], 0
    while at < len(text):
        size = next(n for n in range(min(len(text) - at, 9), 0, -1) if n == 1 or text[at : at + n] in words)
        out.append(text[at : at + size])
        at += size
    return out


@given(words=awkward_words, text=few_letters)
@settings(max_examples=300, deadline=None)
def test_longest_match_with_stepping_stones_and_nested_tokens(words: list[bytes], text: bytes) -> None:
    dictionary = dictionary_of_strings([*SINGLES, *words])
    codec = Codec(dictionary, scheme="pruned")
    strings = dictionary.code_strings()
    assert [strings[code] for code in codec.encode(text)] == brute_force(set(words), text)


def test_large_random_dictionaries_place_every_node_once() -> None:
    generator = np.random.default_rng(0)
    words = {generator.integers(97, 103, size).astype(np.uint8).tobytes() for size in generator.integers(2, 9, 20_000)}
    words |= {generator.integers(0, 256, size).astype(np.uint8).tobytes() for size in generator.integers(2, 5, 9_000)}
    dictionary = dictionary_of_strings([*SINGLES, *words])
    automaton = compile_dictionary(dictionary)
    labels = automaton.units & ((1 << LABEL_BITS) - 1)
    assert np.count_nonzero(labels != NO_LABEL) == len(dictionary.trie) - 1
    bases = automaton.units >> LABEL_BITS
    assert (bases.max() | 255) < len(automaton.units)  # no byte leads out of the array
    inner = np.diff(dictionary.trie.first_child) > 0
    assert len(np.unique(bases[bases != 256])) == np.count_nonzero(inner)
    text = generator.integers(97, 103, 200_000).astype(np.uint8).tobytes()
    codec = Codec(dictionary, scheme="pruned")
    strings = dictionary.code_strings()
    assert [strings[code] for code in codec.encode(text)][:2000] == brute_force(words, text[:20_000])[:2000]
    assert codec.decode(codec.encode(text)) == text


def test_strings_so_unlike_that_no_two_nodes_share_a_block() -> None:
    """Children {0..15} and {0, 16, .., 240} fit in no block of 256 together: the array must grow, not run over."""
    children = sorted({*range(16), *range(0, 256, 16)})
    words = [bytes([a, b, c]) for a in range(256) for b in range(3) for c in children]
    dictionary = dictionary_of_strings([*SINGLES, *words])
    automaton = compile_dictionary(dictionary)
    assert len(automaton.units) > 256 * 3 * 256
    codec = Codec(dictionary, scheme="pruned")
    text = np.random.default_rng(0).integers(0, 4, 50_000).astype(np.uint8).tobytes()
    assert codec.decode(codec.encode(text)) == text
    assert len(codec.encode(text)) < 0.6 * len(text)


def test_tries_are_canonical() -> None:
    words = [b"abc", b"b", b"abd", b"a"]
    trie = trie_of_strings(words)
    assert trie.strings() == [b"", b"a", b"b", b"ab", b"abc", b"abd"]
    assert trie.depth.tolist() == [0, 1, 1, 2, 3, 3]
    assert trie.first_child.tolist() == [1, 3, 4, 4, 6, 6, 6]
    assert [trie.string(node) for node in range(len(trie))] == trie.strings()
    shuffled, canonical = trie_of_edges(np.array([-1, 0, 0, 2, 3, 3]), np.array([0, 98, 97, 98, 100, 99], np.uint8))
    assert shuffled.strings() == trie.strings()
    assert canonical.tolist() == [0, 2, 1, 3, 5, 4]
    small, old = subtrie(trie, np.array([False, False, True, False, False, True]))
    assert small.strings() == [b"", b"a", b"b", b"ab", b"abd"]
    assert old.tolist() == [0, 1, 2, 3, 5]


def test_dictionaries_need_every_single_byte() -> None:
    import pytest

    with pytest.raises(ValueError, match="256 single bytes"):
        dictionary_of_strings([b"a", b"b"])
