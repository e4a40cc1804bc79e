"""Sets of byte strings as tries held in flat arrays, in one canonical order.

Node 0 is the root (the empty string). Nodes are numbered breadth first, siblings by byte, so parents precede
children and the children of a node are one contiguous run. The same set of strings always gives the same arrays.
N = nodes, root included.
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

    @classmethod
    def of_edges(cls, parent: np.ndarray, label: np.ndarray) -> tuple["Trie", np.ndarray]:
        """The trie of edges whose parents precede children; also maps each given node to its canonical number."""
        depth = np.zeros(len(parent), np.int32)
        levels: list[np.ndarray] = []
        depth[0] = 0
        for node_range in _levels_of(parent):
            levels.append(node_range)
        canonical = np.zeros(len(parent), np.int32)
        new_parent, new_label = [np.array([-1], np.int32)], [np.array([0], np.uint8)]
        count = 1
        for nodes in levels[1:]:
            order = np.lexsort((label[nodes], canonical[parent[nodes]]))
            nodes = nodes[order]
            canonical[nodes] = np.arange(count, count + len(nodes), dtype=np.int32)
            new_parent.append(canonical[parent[nodes]])
            new_label.append(label[nodes].astype(np.uint8))
            count += len(nodes)
        return cls(np.concatenate(new_parent), np.concatenate(new_label)), canonical

    @classmethod
    def of_strings(cls, strings: Iterable[bytes]) -> "Trie":
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
        return cls.of_edges(np.array(parent, np.int32), np.array(label, np.uint8))[0]

    @cached_property
    def depth(self) -> np.ndarray:
        """int32 [N]: the length in bytes of each node's string."""
        depth = np.zeros(len(self), np.int32)
        for node in range(1, len(self)):
            depth[node] = depth[self.parent[node]] + 1
        return depth

    @cached_property
    def first_child(self) -> np.ndarray:
        """int32 [N + 1]: the children of node u are the nodes first_child[u] .. first_child[u + 1] - 1."""
        return np.searchsorted(self.parent[1:], np.arange(len(self) + 1)).astype(np.int32) + 1

    def strings(self) -> list[bytes]:
        """Every node's string, in node order; the root's is empty."""
        out = [b""] * len(self)
        for node in range(1, len(self)):
            out[node] = out[self.parent[node]] + bytes([self.label[node]])
        return out


def _levels_of(parent: np.ndarray) -> list[np.ndarray]:
    depth = np.zeros(len(parent), np.int32)
    frontier = np.arange(1, len(parent))
    above = parent[1:].copy()
    while len(frontier):
        depth[frontier] += 1
        alive = above > 0
        frontier, above = frontier[alive], parent[above[alive]]
    order = np.argsort(depth, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)
