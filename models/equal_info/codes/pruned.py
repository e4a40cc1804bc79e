"""Ours: M1 proposes many times V strings, and those that save text the fewest tokens go, round by round.

A prefix of a token need not be a token, so codes are not spent on stepping stones.
"""

import numpy as np

from models.equal_info.dictionary import Dictionary, dictionary_of_nodes
from models.equal_info.explore import Candidates, most_probable
from models.equal_info.longest_match import count_uses, replacement_tokens, segment
from models.equal_info.m1 import M1

__all__ = ["propose", "prune", "segment"]

PROPOSED_PER_TOKEN = 32
MOST_PROPOSED = 1 << 20
KEPT_PER_ROUND = 0.75


def propose(m1: M1, vocab_size: int, window_bits: int) -> Candidates:
    """The strings most probable under M1: 32 V of them, at most 2^20 (16 V at 65,536)."""
    return most_probable(m1, min(PROPOSED_PER_TOKEN * vocab_size, MOST_PROPOSED), window_bits)


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Segments the text, drops the quarter of the strings that saves least, and again until V are left.

    A string saves (the tokens that would replace it - 1) at each use. Dropping it gives its uses to others, so
    counts are taken anew each round. Single bytes stay; among equals the more probable under M1 stay.
    """
    trie = candidates.trie
    single = trie.depth == 1
    tokens = np.arange(len(trie)) > 0
    by_probability = np.argsort(-candidates.log2_probability, kind="stable")
    while True:
        left = int(tokens.sum())
        if left <= vocab_size:
            return dictionary_of_nodes(trie, tokens)
        saved = count_uses(trie, tokens, text) * (replacement_tokens(trie, tokens) - 1)
        saved[single] = np.iinfo(np.int64).max
        saved[~tokens] = -1
        ranked = by_probability[np.argsort(-saved[by_probability], kind="stable")]
        tokens = np.zeros(len(trie), bool)
        tokens[ranked[: max(vocab_size, int(left * KEPT_PER_ROUND))]] = True
