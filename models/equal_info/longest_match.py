"""Longest-match segmentation by the definition: at each place take the longest token, go on after it.

The compiled automaton must agree with this, byte for byte. It is also what pruning counts with, where building an
automaton each round would not pay.
"""

import numpy as np

from models.equal_info.dictionary import Dictionary
from models.equal_info.trie import Trie
from shammie.jit import compiled


def segment(dictionary: Dictionary, text: np.ndarray) -> np.ndarray:
    """The codes of a text; uint8 [bytes] to uint16 [tokens]."""
    return dictionary.code[LongestMatch(dictionary.trie).nodes(dictionary.code >= 0, text)].astype(np.uint16)


class LongestMatch:
    """Longest match over one trie with changing choices of which nodes are tokens; single bytes must be.

    Args:
        trie: holds every string that may become a token; N nodes.
    """

    def __init__(self, trie: Trie) -> None:
        size = 1 << (3 * len(trie)).bit_length()
        self.trie, self._depth = trie, trie.depth
        self._edges = np.full(size, -1, np.int64), np.zeros(size, np.int32)
        _fill_edges(trie.parent, trie.label, *self._edges)

    def nodes(self, tokens: np.ndarray, text: np.ndarray) -> np.ndarray:
        """The token nodes that a text is cut into; bool [N] and uint8 [bytes] to int32 [tokens of the text]."""
        return _segment(*self._edges, _deepest_tokens(self.trie.parent, tokens), self._depth, text)

    def parts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that would stand in for each token if it were gone.

        Args:
            tokens: bool [N].

        Returns:
            The nodes that stand in, int32 [all parts], and int64 [N + 1]: node u's run from starts[u] to
            starts[u + 1] - 1. What is no token has none, nor has a single byte.
        """
        deepest = _deepest_tokens(self.trie.parent, tokens)
        flat = np.empty(int(self._depth[tokens].sum()), np.int32)
        starts = _parts(*self._edges, self.trie.parent, self.trie.label, self._depth, tokens, deepest, flat)
        return flat[: starts[-1]], starts

    def replacements(self, tokens: np.ndarray) -> np.ndarray:
        """How many tokens each token's string would take if it were gone; bool [N] to int64 [N], see `parts`."""
        return np.diff(self.parts(tokens)[1])

    def joined(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The node of each first string with the second behind it, -1 where the trie has none; int32 [n] each."""
        return _joined(*self._edges, self.trie.parent, self.trie.label, self._depth, first, second)


@compiled
def _deepest_tokens(parent, tokens):
    deepest = np.zeros(len(parent), np.int32)
    for node in range(1, len(parent)):
        deepest[node] = node if tokens[node] else deepest[parent[node]]
    return deepest


@compiled
def _find(keys, key):
    mask = len(keys) - 1  # open addressing: a third full at most, so a probe or two suffice
    place = (key * np.int64(-7046029254386353131) >> np.int64(20)) & mask
    while keys[place] >= 0 and keys[place] != key:
        place = (place + 1) & mask
    return place


@compiled
def _fill_edges(parent, label, keys, children):
    for node in range(1, len(parent)):
        key = np.int64(parent[node]) * 256 + label[node]
        place = _find(keys, key)
        keys[place] = key
        children[place] = node


@compiled
def _walk(keys, children, text, at, end):
    """The deepest node that text[at:end] leads to."""
    node = 0
    while at < end:
        place = _find(keys, np.int64(node) * 256 + text[at])
        if keys[place] < 0:
            break
        node = children[place]
        at += 1
    return node


@compiled
def _segment(keys, children, deepest_token, depth, text):
    nodes = np.empty(len(text), np.int32)
    count = at = 0
    while at < len(text):
        nodes[count] = deepest_token[_walk(keys, children, text, at, len(text))]
        at += depth[nodes[count]]
        count += 1
    return nodes[:count].copy()


@compiled
def _parts(keys, children, parent, label, depth, tokens, deepest_token, flat):
    starts = np.zeros(len(parent) + 1, np.int64)
    string = np.zeros(depth[-1], np.uint8)
    count = 0
    for token in range(1, len(parent)):
        starts[token] = count
        part = deepest_token[parent[token]]
        if not tokens[token] or part == 0:
            continue
        node = token
        for place in range(depth[token] - 1, -1, -1):
            string[place] = label[node]
            node = parent[node]
        flat[count], at = part, depth[part]
        count += 1
        while at < depth[token]:
            part = deepest_token[_walk(keys, children, string, at, depth[token])]
            flat[count] = part
            at += depth[part]
            count += 1
    starts[len(parent)] = count
    return starts


@compiled
def _joined(keys, children, parent, label, depth, first, second):
    out = np.full(len(first), -1, np.int32)
    string = np.zeros(depth[-1], np.uint8)
    for pair in range(len(first)):
        node, size = second[pair], depth[second[pair]]
        for place in range(size - 1, -1, -1):
            string[place] = label[node]
            node = parent[node]
        node = first[pair]
        for place in range(size):
            edge = _find(keys, np.int64(node) * 256 + string[place])
            node = children[edge] if keys[edge] >= 0 else -1
            if node < 0:
                break
        out[pair] = node
    return out
