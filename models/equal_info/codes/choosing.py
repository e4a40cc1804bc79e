"""Moves that codes choose tokens with: keep the best of them, bring back what adjacent pieces spell.

N = trie nodes.
"""

import numpy as np

from models.equal_info.longest_match import LongestMatch


def best_kept(tokens: np.ndarray, worth: np.ndarray, log2_probability: np.ndarray, size: int) -> np.ndarray:
    """The tokens worth most; among equals the more probable under M1 stay.

    Args:
        tokens: bool [N], what there is to choose from.
        worth: number [N]; whatever must stay has the greatest.
        log2_probability: float64 [N], under M1.
        size: how many to keep.

    Returns:
        bool [N].
    """
    present = np.flatnonzero(tokens)
    ranked = present[np.lexsort((-log2_probability[present], -worth[present]))]
    kept = np.zeros(len(tokens), bool)
    kept[ranked[:size]] = True
    return kept


def adjacent_pairs(pieces: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kinds of pairs of neighbours among pieces of a text, and how often each occurs; int [pairs] each."""
    pairs, uses = np.unique(pieces[:-1].astype(np.int64) * nodes + pieces[1:], return_counts=True)
    return (pairs // nodes).astype(np.int32), (pairs % nodes).astype(np.int32), uses


def best_spelled(
    match: LongestMatch,
    allowed: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    gain: np.ndarray,
    count: int,
) -> np.ndarray:
    """The strings whose two halves, side by side, promise the greatest gains.

    Args:
        match: the proposed strings.
        allowed: bool [N], which of them may be brought back.
        first: int32 [pairs].
        second: int32 [pairs].
        gain: number [pairs].
        count: how many strings at most.

    Returns:
        bool [N].
    """
    best = np.argsort(-gain, kind="stable")[: 8 * count]  # not all pairs spell a proposed string
    spelled = match.joined(first[best], second[best])
    new = (spelled >= 0) & allowed[spelled]
    gains = np.bincount(spelled[new], gain[best][new], len(allowed))
    chosen = np.argsort(-gains, kind="stable")[:count]
    grown = np.zeros(len(allowed), bool)
    grown[chosen[gains[chosen] > 0]] = True
    return grown
