"""What M1 says after its likeliest beginnings, computed once: every window begins from the same state.

Node 0 is the start of a window. A coder walks from node to node as long as the text allows, and only then asks M1.
N = nodes.
"""

from typing import NamedTuple, Protocol

import numpy as np

from models.equal_info.streams.fixed_point import START

MOST_NODES = 1 << 13
NODES_AT_ONCE = 512


class Predictor(Protocol):
    """A byte model that is read a symbol at a time; `models.equal_info.m1.M1` is one. n = rows.

    Attributes:
        exact: whether it says the same on every machine, in any batch.
    """

    exact: bool

    def start(self, rows: int) -> np.ndarray:
        """The memory before a window's first byte, [n, ...]."""
        ...

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads a symbol in each row: the next memory, and cumulative frequencies of the next byte, int32 [n, 257]."""
        ...


class Nodes(NamedTuple):
    """Beginnings as a tree.

    Attributes:
        cumulative: int32 [N, 257], frequencies of the next byte.
        child: int32 [N, 256], the node one byte longer, -1 where it is none.
        memory: [N, ...], the predictor's.
    """

    cumulative: np.ndarray
    child: np.ndarray
    memory: np.ndarray


def constant_nodes(cumulative: np.ndarray) -> Nodes:
    """One node that every byte leads back to: a model without memory."""
    return Nodes(cumulative[None].astype(np.int32), np.zeros((1, 256), np.int32), np.zeros((1, 1), np.int16))


def likeliest_nodes(predictor: Predictor, precision: int, count: int = MOST_NODES) -> Nodes:
    """About the `count` likeliest beginnings, the single bytes among them; which they are changes no code.

    Args:
        predictor: the byte model.
        precision: the bits of the total frequency.
        count: N, at least 257.
    """
    memory, cumulative = predictor.read(predictor.start(1), np.full(1, START), precision)
    memories, frequencies = [memory], [cumulative]
    child = np.full((count, 256), -1, np.int32)
    # what could become a node: its parent, its byte, and log2 of its probability
    parents, labels = np.zeros(256, np.int64), np.arange(256)
    weights = _log2_shares(cumulative, precision)[0] + 64.0  # all of them, before any longer string
    total = 1
    while total < count:
        best = np.argsort(-weights, kind="stable")
        taken = best[: min(NODES_AT_ONCE, count - total)]
        numbers = np.arange(total, total + len(taken))
        before = np.concatenate(memories)[parents[taken]]
        memory, cumulative = predictor.read(before, labels[taken], precision)
        child[parents[taken], labels[taken]] = numbers
        memories.append(memory)
        frequencies.append(cumulative)
        total += len(taken)
        base = np.where(parents[taken] == 0, weights[taken] - 64.0, weights[taken])
        longer = (base[:, None] + _log2_shares(cumulative, precision)).reshape(-1)
        kept = best[len(taken) :][: count - total]
        good = np.flatnonzero(longer >= _nth_greatest(longer, count - total))
        parents = np.concatenate([parents[kept], numbers[good // 256]])
        labels = np.concatenate([labels[kept], good % 256])
        weights = np.concatenate([weights[kept], longer[good]])
    return Nodes(np.concatenate(frequencies).astype(np.int32), child, np.concatenate(memories))


def _nth_greatest(values: np.ndarray, count: int) -> float:
    """A bound that about `count` of the values reach."""
    if not 0 < count < len(values):
        return -np.inf if count else np.inf
    return float(np.partition(values, len(values) - count)[len(values) - count])


def _log2_shares(cumulative: np.ndarray, precision: int) -> np.ndarray:
    return np.log2(np.diff(cumulative, axis=1)) - precision
