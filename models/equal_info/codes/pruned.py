"""Ours: M1 proposes many times V strings, and text decides which of them pay.

A prefix of a token need not be a token, so codes are not spent on stepping stones. Two moves make the choice:
shrinking drops the strings that save the fewest tokens; regrowing brings back proposed strings whose two halves
now stand side by side most often, and shrinks again. The second move mends what the first, which looks at one
string at a time, got wrong.
"""

import numpy as np

from models.equal_info.codes.choosing import adjacent_pairs, best_kept, best_spelled
from models.equal_info.dictionary import Dictionary, dictionary_of_nodes
from models.equal_info.explore import Candidates, most_probable
from models.equal_info.longest_match import LongestMatch, segment
from models.equal_info.m1 import M1

__all__ = ["propose", "prune", "segment"]

PROPOSED_PER_TOKEN = 128
MOST_PROPOSED = 1 << 20
KEPT_PER_ROUND = 0.75
REGROWN_SHARE = 0.3
MOST_REGROWTHS = 8
LEAST_GAIN = 1e-3


def propose(m1: M1, vocab_size: int, window_bits: int) -> Candidates:
    """The strings most probable under M1: 128 V of them, at most 2^20 (16 V at 65,536)."""
    return most_probable(m1, min(PROPOSED_PER_TOKEN * vocab_size, MOST_PROPOSED), window_bits)


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Chooses the V tokens that cut the text into few pieces.

    Args:
        candidates: what M1 proposed.
        text: uint8 [bytes], on which uses are counted.
        vocab_size: V.
    """
    match = LongestMatch(candidates.trie)
    tokens = np.arange(len(candidates.trie)) > 0
    while tokens.sum() > vocab_size:
        size = max(vocab_size, int(tokens.sum() * KEPT_PER_ROUND))
        tokens = _shrink(match, tokens, match.nodes(tokens, text), size, candidates.log2_probability)
    pieces = match.nodes(tokens, text)
    for _ in range(MOST_REGROWTHS):
        grown = tokens | _most_frequent_pairs(match, tokens, pieces, int(REGROWN_SHARE * vocab_size))
        for size in (vocab_size + int(grown.sum() - vocab_size) // 2, vocab_size):
            grown = _shrink(match, grown, match.nodes(grown, text), size, candidates.log2_probability)
        fewer = match.nodes(grown, text)
        if len(fewer) < len(pieces):
            tokens = grown
        if len(fewer) > (1 - LEAST_GAIN) * len(pieces):
            break
        pieces = fewer
    return dictionary_of_nodes(candidates.trie, tokens)


def _shrink(
    match: LongestMatch, tokens: np.ndarray, pieces: np.ndarray, size: int, log2_probability: np.ndarray
) -> np.ndarray:
    """Keeps the strings that save most.

    A string saves (the tokens that would replace it - 1) at each use. Single bytes stay; among equals the more
    probable under M1 stay.
    """
    saved = np.bincount(pieces, minlength=len(tokens)) * (match.replacements(tokens) - 1)
    saved[match.trie.depth == 1] = np.iinfo(np.int64).max
    return best_kept(tokens, saved, log2_probability, size)


def _most_frequent_pairs(match: LongestMatch, tokens: np.ndarray, pieces: np.ndarray, count: int) -> np.ndarray:
    """The proposed strings, not yet tokens, that adjacent pieces of the text most often spell; bool [N]."""
    first, second, uses = adjacent_pairs(pieces, len(tokens))
    return best_spelled(match, ~tokens, first, second, uses, count)
