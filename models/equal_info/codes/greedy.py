"""The paper's Equal-Info windows: as many bytes as fit, zeros after (arXiv:2404.03626 section 3.3).

NOT lossless: different strings can share a padded code, and the paper's rule decodes all of them to the longest.
"""

import numpy as np

from models.equal_info.dictionary import Dictionary
from models.equal_info.explore import Candidates, reachable_windows
from models.equal_info.longest_match import segment
from models.equal_info.m1 import M1

__all__ = ["propose", "prune", "segment"]


def propose(m1: M1, vocab_size: int, window_bits: int) -> Candidates:
    """Every string that fits a window; the vocabulary size must be 2^window_bits."""
    if vocab_size != 1 << window_bits:
        raise ValueError(f"{window_bits}-bit windows make a vocabulary of {1 << window_bits}, not {vocab_size}")
    return reachable_windows(m1, window_bits)


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Keeps everything: a window takes the longest string that fits.

    Strings that share a padded code lie on one path of the trie (the code is a point of all their intervals), and
    the paper decodes by adding bytes while the code stays the same: to the deepest of them.
    """
    assert candidates.window_code is not None
    code = candidates.window_code.copy()
    code[0] = -1
    node_of_code = np.full(vocab_size, -1, np.int32)
    node_of_code[code[1:]] = np.arange(1, len(code))  # breadth first, so the deepest is written last
    return Dictionary(candidates.trie, code, node_of_code)
