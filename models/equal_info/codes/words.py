"""Ours for language models: words, and the few phrases that pay, each ending where the next token can begin afresh.

`pruned` asks only how many tokens are saved, and its tokens end anywhere: one word is then cut in many ways, by what
happened to stand before it. A small language model pays for that. Here three rules keep the cuts alike:

* a unit is a run of letters, of digits, of white space, or of other marks, the last with or without a space before
  it. "_" is a mark, so the parts of names are read alike wherever they stand;
* a phrase, which is all that is no unit, must end in a mark or in white space ("the ", not " the"). Longest match
  cannot look ahead, but behind such a byte no word goes on: "in the " never eats the head of "in these";
* at most 12 sqrt(V) of the tokens, or an eighth, are phrases: the rest goes to words, so that fewer are broken.

What stays is chosen by likelihood: how many bits the text would take more, under the frequencies of its tokens, if a
string were replaced by its pieces. Tokens whose pieces are common anyway ("of the ") save tokens but few bits.
"""

import numpy as np

from models.equal_info.codes.choosing import adjacent_pairs, best_kept, best_spelled
from models.equal_info.codes.pruned import propose
from models.equal_info.dictionary import Dictionary, dictionary_of_nodes
from models.equal_info.explore import Candidates
from models.equal_info.longest_match import LongestMatch, segment
from models.equal_info.trie import Trie

__all__ = ["propose", "prune", "segment", "shapes"]

PHRASES, LEAST_SHARE = 12, 0.125  # 12 sqrt(V) phrases, but an eighth of V: a quarter of 2,048 tokens
KEPT_PER_ROUND = 0.75
REGROWN_SHARE = 0.3
MOST_REGROWTHS = 6
LEAST_GAIN = 1e-3

_SPACE, _NEWLINE, _LETTER, _DIGIT, _MARK = range(5)
_START, _ONE_SPACE, WHITE, LETTERS, DIGITS, MARKS, PHRASE = range(7)
_NEXT_SHAPE = np.array(
    [  # space, newline, letter, digit, mark
        [_ONE_SPACE, WHITE, LETTERS, DIGITS, MARKS],
        [WHITE, WHITE, PHRASE, PHRASE, MARKS],  # else " the" and "the " would be two ways to cut one text
        [WHITE, WHITE, PHRASE, PHRASE, PHRASE],
        [PHRASE, PHRASE, LETTERS, PHRASE, PHRASE],
        [PHRASE, PHRASE, PHRASE, DIGITS, PHRASE],
        [PHRASE, PHRASE, PHRASE, PHRASE, MARKS],
        [PHRASE, PHRASE, PHRASE, PHRASE, PHRASE],
    ],
    np.uint8,
)


def _byte_kinds() -> np.ndarray:
    """The kind of each byte; bytes beyond ASCII count as letters, whose UTF-8 they mostly are."""
    kinds = np.full(256, _MARK, np.uint8)
    for byte in range(256):
        if byte >= 128 or chr(byte).isalpha():
            kinds[byte] = _LETTER
        elif chr(byte).isdigit():
            kinds[byte] = _DIGIT
    kinds[[ord(" "), ord("\t")]] = _SPACE
    kinds[[ord("\n"), ord("\r")]] = _NEWLINE
    return kinds


_KINDS = _byte_kinds()


def shapes(trie: Trie) -> np.ndarray:
    """What each node's string is: WHITE, LETTERS, DIGITS or MARKS, or a PHRASE; uint8 [N]."""
    shape, kind = np.zeros(len(trie), np.uint8), _KINDS[trie.label]
    for level in range(1, int(trie.depth.max()) + 1):
        nodes = slice(*np.searchsorted(trie.depth, [level, level + 1]))
        shape[nodes] = _NEXT_SHAPE[shape[trie.parent[nodes]], kind[nodes]]
    return shape


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Chooses V words and phrases under whose frequencies the text takes few bits.

    Args:
        candidates: what M1 proposed.
        text: uint8 [bytes], on which uses are counted.
        vocab_size: V.
    """
    trie, match = candidates.trie, LongestMatch(candidates.trie)
    phrase = shapes(trie) == PHRASE
    ends_in_word = (_KINDS[trie.label] == _LETTER) | (_KINDS[trie.label] == _DIGIT)
    allowed = (np.arange(len(trie)) > 0) & ~(phrase & ends_in_word)
    phrase_share = max(PHRASES / vocab_size**0.5, LEAST_SHARE)

    def shrunk(tokens: np.ndarray, size: int) -> np.ndarray:
        worth = bits_saved(match, tokens, match.nodes(tokens, text))
        phrases = best_kept(tokens & phrase, worth, candidates.log2_probability, int(phrase_share * size))
        return best_kept((tokens & ~phrase) | phrases, worth, candidates.log2_probability, size)

    tokens = allowed
    while tokens.sum() > vocab_size:
        tokens = shrunk(tokens, max(vocab_size, int(tokens.sum() * KEPT_PER_ROUND)))
    pieces = match.nodes(tokens, text)
    bits = unigram_bits(pieces)
    for _ in range(MOST_REGROWTHS):
        grown = tokens | _likeliest_pairs(match, allowed & ~tokens, pieces, int(REGROWN_SHARE * vocab_size))
        for size in (vocab_size + int(grown.sum() - vocab_size) // 2, vocab_size):
            grown = shrunk(grown, size)
        pieces = match.nodes(grown, text)
        before, bits = bits, unigram_bits(pieces)
        if bits < before:
            tokens = grown
        if bits > (1 - LEAST_GAIN) * before:
            break
    return dictionary_of_nodes(trie, tokens)


def unigram_bits(pieces: np.ndarray) -> float:
    """What a text takes when each piece costs its share's logarithm."""
    uses = np.bincount(pieces)
    return float(_times_log2(np.array(len(pieces))) - _times_log2(uses).sum())


def bits_saved(match: LongestMatch, tokens: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """How many bits more the text would take without each token, its pieces used in its stead; float64 [N].

    Exact, but for tokens with one piece twice in them. Single bytes are beyond price.
    """
    uses = np.bincount(pieces, minlength=len(tokens)).astype(float)
    parts, starts = match.parts(tokens)
    number = np.diff(starts)
    owner = np.repeat(np.arange(len(tokens)), number)
    dearer = _times_log2(uses[parts]) - _times_log2(uses[parts] + uses[owner])
    more = uses * np.maximum(number - 1, 0)
    saved = _times_log2(uses) + np.bincount(owner, dearer, len(tokens))
    saved += _times_log2(len(pieces) + more) - _times_log2(np.array(len(pieces)))
    saved[match.trie.depth == 1] = np.inf
    return saved


def _times_log2(count: np.ndarray) -> np.ndarray:
    """Each count times its logarithm, 0 at 0."""
    return count * np.log2(np.maximum(count, 1))


def _likeliest_pairs(match: LongestMatch, allowed: np.ndarray, pieces: np.ndarray, count: int) -> np.ndarray:
    """The allowed strings that adjacent pieces spell far oftener than chance would have them do; bool [N]."""
    first, second, together = adjacent_pairs(pieces, len(allowed))
    uses = np.bincount(pieces, minlength=len(allowed))
    surprise = np.log2(together) + np.log2(len(pieces)) - np.log2(uses[first]) - np.log2(uses[second])
    return best_spelled(match, allowed, first, second, together * surprise, count)
