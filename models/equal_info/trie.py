"""Sets of byte strings as tries held in flat arrays, in one canonical order.

Node 0 is the root (the empty string). Nodes are numbered breadth first, siblings by byte, so parents precede
children, each level is one run of nodes, and so are the children of a node. The same set of strings always gives
the same arrays. N = nodes, root included.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Trie:
    """A prefix-closed set of byte strings.

    Attributes:
        parent: int32 [N], the node one byte shorter; -1 at the root.
        label: uint8 [N], the last byte of the node's string; 0 at the root.
    """

    parent: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.parent)

    @cached_property
    def first_child(self) -> np.ndarray:
        """int32 [N + 1]: the children of node u are the nodes first_child[u] .. first_child[u + 1] - 1."""
        return np.searchsorted(self.parent, np.arange(len(self) + 1)).astype(np.int32)

    @cached_property
    def depth(self) -> np.ndarray:
        """int32 [N]: the length in bytes of each node's string."""
        depth = np.zeros(len(self), np.int32)
        start, end, level = 0, 1, 0
        while start < end:
            depth[start:end] = level
            start, end, level = end, int(self.first_child[end]), level + 1
        return depth

    def string(self, node: int) -> bytes:
        """One node's string."""
        out = bytearray()
        while node > 0:
            out.append(self.label[node])
            node = int(self.parent[node])
        return bytes(reversed(out))

    def strings(self) -> list[bytes]:
        """Every node's string, in node order; the root's is empty."""
        out = [b""] * len(self)
        for node, (parent, label) in enumerate(zip(self.parent.tolist(), self.label.tolist(), strict=True)):
            if node:
                out[node] = out[parent] + bytes((label,))
        return out


def trie_of_edges(parent: np.ndarray, label: np.ndarray) -> tuple[Trie, np.ndarray]:
    """The canonical trie of nodes given in any order in which parents precede children.

    Args:
        parent: int [N], -1 at node 0, the root.
        label: uint8 [N].

    Returns:
        The trie, and int32 [N]: the canonical number of each given node.
    """
    depth = np.zeros(len(parent), np.int32)
    above = np.maximum(parent, 0)
    while np.any(above):  # one step up for all nodes at a time
        depth += above > 0
        above = np.maximum(parent[above], 0)
    depth[1:] += 1
    by_level = np.argsort(depth, kind="stable")  # parents get their canonical number before their children need it
    canonical = np.zeros(len(parent), np.int32)
    start = 1
    for nodes in np.split(by_level, np.flatnonzero(np.diff(depth[by_level])) + 1)[1:]:
        nodes = nodes[np.lexsort((label[nodes], canonical[parent[nodes]]))]
        canonical[nodes] = np.arange(start, start + len(nodes), dtype=np.int32)
        start += len(nodes)
    order = np.argsort(canonical, kind="stable")
    canonical_parent = canonical[np.maximum(parent[order], 0)]
    canonical_parent[0] = -1
    return Trie(canonical_parent.astype(np.int32), label[order].astype(np.uint8)), canonical


def trie_of_strings(strings: Iterable[bytes]) -> Trie:
    """The smallest prefix-closed set that holds every given string."""
    index = {b"": 0}
    parent, label = [-1], [0]
    for string in sorted(strings):
        for end in range(1, len(string) + 1):
            prefix = string[:end]
            if prefix not in index:
                index[prefix] = len(parent)
                parent.append(index[prefix[:-1]])
                label.append(prefix[-1])
    return trie_of_edges(np.array(parent, np.int32), np.array(label, np.uint8))[0]


def subtrie(trie: Trie, wanted: np.ndarray) -> tuple[Trie, np.ndarray]:
    """The smallest trie that holds the wanted nodes' strings.

    Args:
        trie: the larger set.
        wanted: bool [N].

    Returns:
        The trie of the wanted nodes and their ancestors, and int32 [n]: each new node's number in the larger trie.
    """
    needed = wanted.copy()
    needed[0] = True
    for start in range(int(trie.depth.max(initial=0)), 0, -1):  # levels from the deepest up
        level = np.flatnonzero(needed & (trie.depth == start))
        needed[trie.parent[level]] = True
    old = np.flatnonzero(needed).astype(np.int32)
    new = np.cumsum(needed, dtype=np.int32) - 1
    parent = new[np.maximum(trie.parent[old], 0)]
    parent[0] = -1
    return Trie(parent, trie.label[old]), old  # breadth-first order survives the selection
