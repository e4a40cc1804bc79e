"""The coder's exact laws: intervals tile, codes fit and are shortest, lengths follow the probability."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.equal_info.coder import (
    LINE_BITS,
    cumulative_frequencies,
    fits,
    precision_bits,
    shortest_code,
    subdivide,
)
from models.equal_info.explore import reachable_windows
from models.equal_info.m1 import M1


@pytest.mark.parametrize("precision", [9, 12, 14])
@pytest.mark.parametrize("scale", [0.0, 3.0, 50.0])
def test_frequencies_are_at_least_one_and_sum_exactly(precision: int, scale: float) -> None:
    logits = scale * np.random.default_rng(0).normal(size=(64, 256))
    cumulative = np.asarray(cumulative_frequencies(jnp.asarray(logits), precision))
    frequency = np.diff(cumulative, axis=1)
    assert cumulative.shape == (64, 257)
    assert np.all(cumulative[:, 0] == 0)
    assert np.all(cumulative[:, -1] == 1 << precision)
    assert frequency.min() >= 1
    probability = np.exp(logits - logits.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    expected = 1 + probability * ((1 << precision) - 256)
    weights_lost = 256 / (2**16 - 256)  # each 16-bit weight is rounded down by less than one
    assert np.all(np.abs(frequency - expected) < 2 + expected * weights_lost)


def test_intervals_of_the_next_bytes_tile_the_interval() -> None:
    cumulative = np.asarray(cumulative_frequencies(jnp.zeros((3, 256)), 14))
    low, width = np.array([5, 0, 1 << 40]), np.array([1 << 48, 1 << 33, (1 << 35) + 17])
    inner_low, inner_width = subdivide(low, width, cumulative, 14)
    assert np.array_equal(inner_low[:, 0], low)
    assert np.array_equal(inner_low[:, 1:], (inner_low + inner_width)[:, :-1])
    assert np.array_equal((inner_low + inner_width)[:, -1], low + width)


@given(low=st.integers(0, (1 << 48) - 1), width=st.integers(1, 1 << 48), window_bits=st.integers(9, 16))
@settings(max_examples=300, deadline=None)
def test_the_code_is_the_shortest_and_lowest_inside(low: int, width: int, window_bits: int) -> None:
    width = min(width, (1 << LINE_BITS) - low)
    inside = [
        (bits, place)
        for bits in range(window_bits + 1)
        for place in (low >> (LINE_BITS - bits), (low >> (LINE_BITS - bits)) + 1)
        if low <= place << (LINE_BITS - bits) and (place + 1) << (LINE_BITS - bits) <= low + width
    ]
    lows, widths = np.array([low]), np.array([width])
    assert bool(fits(lows, widths, window_bits)[0]) == bool(inside)
    if not inside:
        with pytest.raises(ValueError, match="row 0"):
            shortest_code(lows, widths, window_bits)
        return
    code, length = shortest_code(lows, widths, window_bits)
    bits = min(bits for bits, _ in inside)
    assert length[0] == bits
    assert code[0] == min(place for b, place in inside if b == bits) << (window_bits - bits)


@pytest.mark.parametrize("window_bits", [12, 16])
def test_a_windows_code_is_within_two_bits_of_its_information(small_m1: M1, window_bits: int) -> None:
    candidates = reachable_windows(small_m1, window_bits)
    low_and_width = _intervals(small_m1, candidates, window_bits)
    _, length = shortest_code(*low_and_width, window_bits)
    excess = length[1:] + candidates.log2_probability[1:]
    assert excess.min() >= 0
    assert excess.max() <= 2


def _intervals(m1: M1, candidates, window_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The interval of every candidate, computed anew node by node from the network's frequencies."""
    trie, precision = candidates.trie, precision_bits(window_bits)
    low, width = np.zeros(len(trie), np.int64), np.full(len(trie), 1 << LINE_BITS)
    memory, cumulative = m1.read(m1.start(1), np.array([256]), precision)
    nodes = np.array([0])
    while len(nodes):
        inner_low, inner_width = subdivide(low[nodes], width[nodes], cumulative, precision)
        children = np.flatnonzero(np.isin(trie.parent, nodes))
        rows = np.searchsorted(nodes, trie.parent[children])
        low[children] = inner_low[rows, trie.label[children]]
        width[children] = inner_width[rows, trie.label[children]]
        nodes = children
        if len(nodes):
            memory, cumulative = m1.read(memory[rows], trie.label[nodes], precision)
    return low, width


def test_short_windows_take_fewer_bits_of_precision() -> None:
    assert [precision_bits(bits) for bits in (9, 12, 14, 16)] == [9, 12, 14, 14]
    for bits in (8, 17):
        with pytest.raises(ValueError, match=str(bits)):
            precision_bits(bits)
