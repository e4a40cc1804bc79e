"""The paper's Delay variant, made exact: no window ends in a byte that only adds zeros (section A.5).

Of all strings with one padded code, which lie on one path, only the shortest is a token. That is stronger than to
drop a last byte which does not change the code: a code can change on the way and come back, and then two strings
would share it (see BUILD_NOTES). Injective by construction, and checked over the whole table.
"""

import numpy as np

from models.equal_info.codes.greedy import propose
from models.equal_info.dictionary import Dictionary
from models.equal_info.explore import Candidates
from models.equal_info.longest_match import segment

__all__ = ["propose", "prune", "segment"]


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Keeps the shortest string of each code.

    Raises:
        AssertionError: two tokens share a code (a broken coder).
    """
    assert candidates.window_code is not None
    used, shortest = np.unique(candidates.window_code[1:], return_index=True)
    shortest += 1  # breadth first, so the first node with a code is the shortest
    code = np.full(len(candidates.trie), -1, np.int32)
    code[shortest] = used
    node_of_code = np.full(vocab_size, -1, np.int32)
    node_of_code[used] = shortest
    tokens = np.flatnonzero(code >= 0)
    assert len(np.unique(code[tokens])) == len(tokens), "Delay's codes are not injective"
    return Dictionary(candidates.trie, code, node_of_code)
