"""What pruning counts with: uses, replacements and joins, on a trie small enough to check by hand."""

import numpy as np

from models.equal_info.codes.pruned import _shrink
from models.equal_info.longest_match import LongestMatch
from models.equal_info.trie import trie_of_strings

SINGLES = [bytes([byte]) for byte in range(256)]
WORDS = [b"ab", b"abc", b"abcd", b"bc", b"cd"]
TRIE = trie_of_strings([*SINGLES, *WORDS])
NODE = {string: node for node, string in enumerate(TRIE.strings())}
MATCH = LongestMatch(TRIE)


def tokens_but(*dropped: bytes) -> np.ndarray:
    tokens = np.arange(len(TRIE)) > 0
    tokens[[NODE[string] for string in dropped]] = False
    return tokens


def pieces(text: bytes, *dropped: bytes) -> list[bytes]:
    nodes = MATCH.nodes(tokens_but(*dropped), np.frombuffer(text, np.uint8))
    return [TRIE.string(node) for node in nodes]


def test_text_is_cut_by_the_tokens_of_the_moment() -> None:
    assert pieces(b"abcdabc") == [b"abcd", b"abc"]
    assert pieces(b"abcdabc", b"abcd") == [b"abc", b"d", b"abc"]
    assert pieces(b"abcdabc", b"abc", b"abcd") == [b"ab", b"cd", b"ab", b"c"]
    assert pieces(b"abce", b"abc") == [b"ab", b"c", b"e"]  # walks on to abc, then takes the token before it


def test_replacements_count_the_tokens_that_would_stand_in() -> None:
    counted = MATCH.replacements(tokens_but())
    assert {string: counted[NODE[string]] for string in WORDS} == {
        b"ab": 2,  # a b
        b"abc": 2,  # ab c
        b"abcd": 2,  # abc d
        b"bc": 2,
        b"cd": 2,
    }
    without = MATCH.replacements(tokens_but(b"ab", b"abc", b"bc"))
    assert without[NODE[b"abcd"]] == 3  # a b cd
    assert without[NODE[b"ab"]] == 0
    assert without[NODE[b"a"]] == 0


def test_joins_find_the_strings_that_pairs_spell() -> None:
    pairs = [(b"a", b"b"), (b"ab", b"cd"), (b"abc", b"d"), (b"b", b"d"), (b"ab", b"ab")]
    first, second = (np.array([NODE[pair[side]] for pair in pairs], np.int32) for side in (0, 1))
    assert MATCH.joined(first, second).tolist() == [NODE[b"ab"], NODE[b"abcd"], NODE[b"abcd"], -1, -1]


def test_shrinking_drops_what_saves_fewest_tokens_not_what_is_used_least() -> None:
    """abcd, without ab, abc and bc, stands for three tokens: twice used it saves 4; cd, three times used, saves 3."""
    tokens = tokens_but(b"ab", b"abc", b"bc")
    text = np.frombuffer(b"abcd-abcd-cd-cd-cd", np.uint8)
    kept = _shrink(MATCH, tokens, MATCH.nodes(tokens, text), 257, np.zeros(len(TRIE)))
    assert kept[NODE[b"abcd"]]
    assert not kept[NODE[b"cd"]]
    assert kept[TRIE.depth == 1].all()
