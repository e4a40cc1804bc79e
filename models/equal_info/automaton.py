"""Compiles a dictionary into a longest-match automaton that never backs up over text.

A state is a trie node: the text read since the last token's end. Where a byte has no child, the state's first
token is certain; it is emitted and the rest of the state's string becomes the new state, known in advance
(arXiv:2012.15524 calls these failure pops). So every step either reads a byte or emits a token.

States live in a double array: the child of a state by byte c is at slot base ^ c, if that slot is labelled c.
Bases are unique, so the label alone proves the parent. Slots 0..255 are the single bytes, 256..511 hold nothing
(the base of childless states), 512 is the root. S = slots, N = trie nodes, M = states.
"""

from dataclasses import dataclass

import numpy as np

from models.equal_info.dictionary import Dictionary
from shammie.jit import compiled

EMPTY_BASE = 256
ROOT_SLOT = 512
LABEL_BITS = 9
NO_LABEL = 256
CODE_BITS = 16
MOST_SLOTS = 1 << (32 - LABEL_BITS)
_CROWDED_TRIES = 256


@dataclass(frozen=True, eq=False)
class Automaton:
    """What the kernels walk.

    Attributes:
        units: uint32 [S], base << 9 | label.
        emits: int64 [S], next slot << 16 | code: what happens where a byte has no child.
    """

    units: np.ndarray
    emits: np.ndarray


def compile_dictionary(dictionary: Dictionary) -> Automaton:
    """The automaton that segments text by the dictionary's longest match."""
    trie = dictionary.trie
    code, rest = _failures(trie.parent, trie.label, trie.first_child, dictionary.code)
    children = np.diff(trie.first_child)
    inner = np.flatnonzero(children[1:] > 0) + 1
    crowded_first = inner[np.argsort(-children[inner], kind="stable")]
    base, slot, label, used = _place(trie.first_child, trie.label, crowded_first)
    virtual = len(code) - len(trie)
    slot_of_state = np.concatenate([slot, np.arange(used, used + virtual)])
    units = np.full(used + virtual, EMPTY_BASE << LABEL_BITS | NO_LABEL, np.uint32)
    units[:used] = EMPTY_BASE << LABEL_BITS | label[:used]
    units[slot] = (base << LABEL_BITS) | (units[slot] & ((1 << LABEL_BITS) - 1))
    emits = np.full(len(units), ROOT_SLOT << CODE_BITS, np.int64)
    emits[slot_of_state[1:]] = (slot_of_state[rest[1:]] << CODE_BITS) | code[1:]
    if used + virtual >= MOST_SLOTS:
        raise ValueError(
            f"the dictionary needs {used + virtual:,} slots, over {MOST_SLOTS:,}: its strings are too unlike"
        )
    assert (int(base.max()) | 255) < used + virtual, "no step may leave the array"
    return Automaton(units, emits)


@compiled
def _child(first_child: np.ndarray, label: np.ndarray, node: int, byte: int) -> int:
    low, high = first_child[node], first_child[node + 1]
    while low < high:
        middle = (low + high) >> 1
        if label[middle] < byte:
            low = middle + 1
        else:
            high = middle
    return low if low < first_child[node + 1] and label[low] == byte else -1


@compiled
def _failures(parent: np.ndarray, label: np.ndarray, first_child: np.ndarray, code: np.ndarray):
    """The first code of each state and the state of the rest of its string.

    States past the nodes are virtual: strings outside the trie that arise when the rest of a string itself
    holds a complete token; they have no children, so any byte makes them emit.
    """
    nodes = len(parent)
    first = np.zeros(2 * nodes, np.int64)
    rest = np.zeros(2 * nodes, np.int64)
    states = nodes
    for node in range(1, nodes):
        if code[node] >= 0:
            first[node] = code[node]
            continue
        first[node] = first[parent[node]]
        state, previous = rest[parent[node]], node
        while True:
            child = _child(first_child, label, state, label[node]) if state < nodes else -1
            if child >= 0:
                rest[previous] = child
                break
            if states == len(first):
                first = np.concatenate((first, np.zeros(states, np.int64)))
                rest = np.concatenate((rest, np.zeros(states, np.int64)))
            first[states] = first[state]
            rest[previous] = states
            state, previous = rest[state], states
            states += 1
    return first[:states], rest[:states]


@compiled
def _place(first_child: np.ndarray, label: np.ndarray, inner: np.ndarray):
    """First-fit places for every node's children, over a linked list of free slots.

    Returns:
        base [N], slot [N], label by slot, and the number of slots used.
    """
    nodes = len(label)
    size = nodes + nodes // 2 + 4096
    base = np.full(nodes, EMPTY_BASE, np.int64)
    slot = np.zeros(nodes, np.int64)
    slot_label = np.full(size, NO_LABEL, np.uint32)
    taken = np.zeros(size, np.bool_)
    base_taken = np.zeros(size, np.bool_)
    taken[: ROOT_SLOT + 1] = True
    base_taken[:ROOT_SLOT] = True
    base[0], slot[0] = 0, ROOT_SLOT
    for byte in range(256):
        slot[first_child[0] + byte] = byte
        slot_label[byte] = byte
    after = np.arange(1, size + 1)  # the free slots as a list with links both ways; the root's slot is its head
    before = np.arange(-1, size)
    searched_from, used = ROOT_SLOT + 1, ROOT_SLOT + 1
    for node in inner:
        start, end = first_child[node], first_child[node + 1]
        while taken[searched_from]:
            searched_from = after[searched_from]
        free, tries = searched_from, 0
        while True:
            if free + 512 > size:  # nothing that a base in this block could reach may lie outside
                after = np.concatenate((after, np.arange(size + 1, 2 * size + 1)))
                before = np.concatenate((before, np.arange(size, 2 * size)))
                slot_label = np.concatenate((slot_label, np.full(size, NO_LABEL, np.uint32)))
                taken = np.concatenate((taken, np.zeros(size, np.bool_)))
                base_taken = np.concatenate((base_taken, np.zeros(size, np.bool_)))
                size *= 2
            candidate = free ^ np.int64(label[start])
            fits = not base_taken[candidate]
            child = start + 1
            while fits and child < end:
                fits = not taken[candidate ^ np.int64(label[child])]
                child += 1
            if fits:
                break
            free = after[free]
            tries += 1
        base[node] = candidate
        base_taken[candidate] = True
        for child in range(start, end):
            place = candidate ^ np.int64(label[child])
            taken[place] = True
            slot[child] = place
            slot_label[place] = label[child]
            after[before[place]] = after[place]
            before[after[place]] = before[place]
            used = max(used, place + 1)
        if tries > _CROWDED_TRIES:  # give up the front half of what was searched: it is too crowded to pay
            for _ in range(tries // 2):
                searched_from = after[searched_from]
    return base, slot, slot_label, (used + 255) // 256 * 256  # base ^ byte stays in the base's block of 256
