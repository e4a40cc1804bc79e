"""The paper's Delay variant, made exact: no window ends in a byte that only adds zeros (section A.5).

Of all strings with one padded code, which lie on one path, only the shortest is a token. That is stronger than to
drop a last byte which does not change the code: a code can change on the way and come back, and then two strings
would share it (see BUILD_NOTES). So a code has one token, and the whole table is checked for the path.
"""

import numpy as np

from models.equal_info.codes.greedy import propose, shortest_of_each_code
from models.equal_info.dictionary import Dictionary
from models.equal_info.explore import Candidates
from models.equal_info.longest_match import segment

__all__ = ["propose", "prune", "segment"]


def prune(candidates: Candidates, text: np.ndarray, vocab_size: int) -> Dictionary:
    """Keeps the shortest string of each code."""
    used, shortest = shortest_of_each_code(candidates)
    code = np.full(len(candidates.trie), -1, np.int32)
    code[shortest] = used
    node_of_code = np.full(vocab_size, -1, np.int32)
    node_of_code[used] = shortest
    return Dictionary(candidates.trie, code, node_of_code)
