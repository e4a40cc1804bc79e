"""Runs M1 over strings, level by level, and keeps what a code could use; after that a codec needs no network.

n = strings of the level at hand.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.equal_info.coder import LINE_BITS, fits, precision_bits, shortest_code, subdivide
from models.equal_info.m1 import M1, START
from models.equal_info.trie import Trie, trie_of_edges

MAX_TOKEN_BYTES = 64


@dataclass(frozen=True, eq=False)
class Candidates:
    """Strings that M1 proposes; N = trie nodes.

    Attributes:
        trie: the strings.
        log2_probability: float64 [N], under M1's integer frequencies.
        window_code: int32 [N], each string's padded arithmetic code, where a coder chose the strings; else None.
    """

    trie: Trie
    log2_probability: np.ndarray
    window_code: np.ndarray | None = None


Select = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _explore(m1: M1, precision: int, carry: np.ndarray, select: Select) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walks all strings that `select` keeps, breadth first.

    Args:
        m1: the network.
        precision: bits of the total frequency.
        carry: [1, ...], what is known of the empty string.
        select: (carry [n, ...], cumulative [n, 257]) -> rows, bytes and carry of the children kept.

    Returns:
        parent int32 [N], label uint8 [N] and carry [N, ...] of every kept string, root first.
    """
    parents, labels, carries = [np.array([-1])], [np.array([0])], [carry]
    memory, symbols = m1.start(1), np.full(1, START)
    numbers, count = np.zeros(1, np.int64), 1
    for _ in range(MAX_TOKEN_BYTES):
        memory, cumulative = m1.read(memory, symbols, precision)
        rows, symbols, carry = select(carry, cumulative)
        if not len(rows):
            break
        parents.append(numbers[rows])
        labels.append(symbols)
        carries.append(carry)
        numbers = np.arange(count, count + len(rows))
        count += len(rows)
        memory = memory[rows]  # each child reads on from its parent's memory
    return np.concatenate(parents).astype(np.int32), np.concatenate(labels).astype(np.uint8), np.concatenate(carries)


def most_probable(m1: M1, count: int, window_bits: int) -> Candidates:
    """The `count` strings most probable under M1, all single bytes among them.

    No string is more probable than its prefixes, so the set is prefix-closed. Ties go to the shorter string.

    Args:
        m1: the network.
        count: how many, at least 256.
        window_bits: sets the precision of the frequencies.
    """
    if count < 256:
        raise ValueError(f"a code needs at least the 256 single bytes, got a size of {count}")
    precision = precision_bits(window_bits)
    log2_frequency = np.log2(np.maximum(np.arange((1 << precision) + 1), 1)) - precision
    threshold = -np.log2(2.0 * count)  # of n strings about 1 / n probable each there are some n / 2
    while True:
        parent, label, log2_probability = _explore(
            m1, precision, np.zeros(1), _above(threshold, precision, log2_frequency)
        )
        if len(parent) > count:
            break
        threshold -= max(0.5, np.log2(count / len(parent)))  # the number grows about as the threshold falls
    multi_byte = np.where(parent > 0, log2_probability, np.inf)  # the root and single bytes always stay
    kept = np.sort(np.argsort(-multi_byte, kind="stable")[: count + 1])
    new = np.zeros(len(parent), np.int64)
    new[kept] = np.arange(len(kept))
    new_parent = new[np.maximum(parent[kept], 0)]
    new_parent[0] = -1
    trie, canonical = trie_of_edges(new_parent, label[kept])
    ordered = np.empty(len(kept))
    ordered[canonical] = log2_probability[kept]
    return Candidates(trie, ordered)


def _above(threshold: float, precision: int, log2_frequency: np.ndarray) -> Select:
    """Keeps children whose log2 probability is at least the threshold, and every single byte."""

    def select(carry: np.ndarray, cumulative: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        frequency = np.diff(cumulative, axis=1)
        if len(carry) == 1 and carry[0] == 0.0:  # the empty string: every byte must be a token, however rare
            rows, symbols = np.zeros(256, np.int64), np.arange(256)
        else:
            least = np.exp2(np.minimum(threshold - carry, 0.0) + precision)
            rows, symbols = np.nonzero(frequency >= least[:, None])
        return rows, symbols, carry[rows] + log2_frequency[frequency[rows, symbols]]

    return select


def reachable_windows(m1: M1, window_bits: int) -> Candidates:
    """Every string whose arithmetic code fits a window, with its code.

    A string fits only if its prefixes do (its interval lies in theirs), so the set is prefix-closed.
    """
    precision = precision_bits(window_bits)

    def select(carry: np.ndarray, cumulative: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, width = subdivide(carry[:, 0], carry[:, 1], cumulative, precision)
        rows, symbols = np.nonzero(fits(low, width, window_bits))
        return rows, symbols, np.stack([low[rows, symbols], width[rows, symbols]], axis=1)

    whole_line = np.array([[0, 1 << LINE_BITS]], np.int64)
    parent, label, interval = _explore(m1, precision, whole_line, select)
    trie, canonical = trie_of_edges(parent, label)
    ordered = np.empty_like(interval)
    ordered[canonical] = interval
    code, _ = shortest_code(ordered[:, 0], ordered[:, 1], window_bits)
    return Candidates(trie, np.log2(ordered[:, 1]) - LINE_BITS, code)
