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
    nodes = _segment(*_hashed_edges(dictionary.trie), dictionary.token_node, dictionary.trie.depth, text)
    return dictionary.code[nodes].astype(np.uint16)


def count_uses(trie: Trie, tokens: np.ndarray, text: np.ndarray) -> np.ndarray:
    """How often each token is used in a text.

    Args:
        trie: holds the tokens.
        tokens: bool [N], which nodes are tokens; single bytes must be.
        text: uint8 [bytes].

    Returns:
        int64 [N].
    """
    deepest = _deepest_tokens(trie.parent, tokens)
    nodes = _segment(*_hashed_edges(trie), deepest, trie.depth, text)
    return np.bincount(nodes, minlength=len(trie))


def replacement_tokens(trie: Trie, tokens: np.ndarray) -> np.ndarray:
    """How many tokens a token's string would take if that token were gone.

    Args:
        trie: holds the tokens.
        tokens: bool [N], which nodes are tokens; single bytes must be.

    Returns:
        int64 [N]; 0 for what is no token, and for single bytes, which have no replacement.
    """
    deepest = _deepest_tokens(trie.parent, tokens)
    return _replacements(*_hashed_edges(trie), trie.parent, trie.label, trie.depth, tokens, deepest)


def _hashed_edges(trie: Trie) -> tuple[np.ndarray, np.ndarray]:
    size = 1 << (3 * len(trie)).bit_length()
    keys, children = np.full(size, -1, np.int64), np.zeros(size, np.int32)
    _fill_edges(trie.parent, trie.label, keys, children)
    return keys, children


@compiled
def _deepest_tokens(parent, tokens):
    deepest = np.zeros(len(parent), np.int32)
    for node in range(1, len(parent)):
        deepest[node] = node if tokens[node] else deepest[parent[node]]
    return deepest


@compiled
def _find(keys, key):
    mask = len(keys) - 1
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
def _replacements(keys, children, parent, label, depth, tokens, deepest_token):
    count = np.zeros(len(parent), np.int64)
    string = np.zeros(depth[-1], np.uint8)
    for token in range(1, len(parent)):
        first = deepest_token[parent[token]]
        if not tokens[token] or first == 0:
            continue
        node = token
        for place in range(depth[token] - 1, -1, -1):
            string[place] = label[node]
            node = parent[node]
        at, count[token] = depth[first], 1
        while at < depth[token]:
            at += depth[deepest_token[_walk(keys, children, string, at, depth[token])]]
            count[token] += 1
    return count
