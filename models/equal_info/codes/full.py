"""Ours: the V strings most probable under M1. Every code is used, and every prefix of a token is a token."""

import numpy as np

from models.equal_info.dictionary import Dictionary, dictionary_of_nodes
from models.equal_info.explore import Candidates, most_probable
from models.equal_info.longest_match import segment
from models.equal_info.m1 import M1

__all__ = ["propose", "prune", "segment"]


def propose(m1: M1, vocab_size: int, window_bits: int) -> Candidates:
    """Exactly the V strings."""
    return most_probable(m1, vocab_size, window_bits)


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Keeps everything."""
    return dictionary_of_nodes(candidates.trie, np.arange(len(candidates.trie)) > 0)
