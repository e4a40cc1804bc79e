"""A dictionary: which strings are tokens, which code each has, and what each code decodes to.

Every code here, the paper's windows included, is such a dictionary read by longest match: the window that an
arithmetic coder fills greedily is the longest string of a fixed, prefix-closed set.
N = trie nodes, V = vocabulary size.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.equal_info.trie import Trie, subtrie, trie_of_strings


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A set of token strings with their codes.

    Attributes:
        trie: holds every token; inner nodes need not be tokens, single bytes must be.
        code: int32 [N], the code of each node's string, -1 where it is no token.
        node_of_code: int32 [V], the node that a code decodes to; -1 for a code that no text has.
    """

    trie: Trie
    code: np.ndarray
    node_of_code: np.ndarray

    def __post_init__(self) -> None:
        children = self.trie.first_child[:2]
        if not (np.array_equal(self.trie.label[1:257], np.arange(256)) and children[1] - children[0] == 256):
            raise ValueError("a dictionary must hold all 256 single bytes")
        if np.any(self.code[1:257] < 0):
            raise ValueError("every single byte must be a token, else some text has no code")

    @property
    def vocab_size(self) -> int:
        """V: codes run from 0 to V - 1."""
        return len(self.node_of_code)

    @cached_property
    def token_node(self) -> np.ndarray:
        """int32 [N]: the deepest token on the way to each node, itself included; 0 at the root."""
        deepest = np.where(self.code >= 0, np.arange(len(self.trie)), -1).astype(np.int32)
        deepest[0] = 0
        for level in range(2, int(self.trie.depth.max()) + 1):
            nodes = np.flatnonzero((self.trie.depth == level) & (deepest < 0))
            deepest[nodes] = deepest[self.trie.parent[nodes]]
        return deepest

    def code_strings(self) -> list[bytes | None]:
        """The string of each code, None for a code that no text has."""
        strings = self.trie.strings()
        return [strings[node] if node >= 0 else None for node in self.node_of_code]


def dictionary_of_nodes(trie: Trie, tokens: np.ndarray) -> Dictionary:
    """The dictionary whose tokens are some nodes of a trie; codes follow the order of the nodes.

    Args:
        trie: holds the tokens.
        tokens: bool [N], the nodes that become tokens.

    Returns:
        A dictionary of tokens.sum() codes over the smallest trie that holds them.
    """
    small, old = subtrie(trie, tokens)
    is_token = tokens[old]
    is_token[0] = False
    code = np.where(is_token, np.cumsum(is_token) - 1, -1).astype(np.int32)
    return Dictionary(small, code, np.flatnonzero(is_token).astype(np.int32))


def dictionary_of_strings(strings: list[bytes]) -> Dictionary:
    """The dictionary of given token strings, in the canonical order of tries."""
    trie = trie_of_strings(strings)
    wanted = set(strings)
    return dictionary_of_nodes(trie, np.array([string in wanted for string in trie.strings()]))
