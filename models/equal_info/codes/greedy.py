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


def shortest_of_each_code(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """The codes that strings have, and the shortest string of each.

    Strings with one padded code lie on one path of the trie, since the code is a point of all their intervals; that
    is checked here for every string, and is what makes `delay` lossless and the paper's decoding meaningful.

    Returns:
        The codes, rising, and their shortest strings' nodes, int [codes] each.

    Raises:
        ValueError: two strings share a code and neither starts the other (a broken coder).
    """
    trie, code = candidates.trie, candidates.window_code
    assert code is not None
    used, shortest = np.unique(code[1:], return_index=True)
    shortest += 1  # breadth first, so the first node with a code is the shortest
    expected = shortest[np.searchsorted(used, code[1:])]
    ancestor = np.arange(1, len(trie))
    while np.any(deeper := trie.depth[ancestor] > trie.depth[expected]):
        ancestor[deeper] = trie.parent[ancestor[deeper]]
    if np.any(ancestor != expected):
        node = int(np.flatnonzero(ancestor != expected)[0]) + 1
        other = trie.string(int(expected[node - 1]))
        raise ValueError(f"{trie.string(node)!r} and {other!r} share the code {code[node]}, but not their start")
    return used, shortest


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Keeps everything: a window takes the longest string that fits.

    The paper decodes by adding bytes while the code stays the same: to the longest string of the code.
    """
    shortest_of_each_code(candidates)
    assert candidates.window_code is not None
    code = candidates.window_code.copy()
    code[0] = -1
    node_of_code = np.full(vocab_size, -1, np.int32)
    node_of_code[code[1:]] = np.arange(1, len(code))  # breadth first, so the deepest is written last
    return Dictionary(candidates.trie, code, node_of_code)
