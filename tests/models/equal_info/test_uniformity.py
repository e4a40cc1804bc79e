"""Uniform and unigram bits per byte, by hand."""

import math

import numpy as np
import pytest

from models.equal_info.uniformity import uniformity


def test_three_costs_by_hand() -> None:
    """Four tokens for 8 bytes of held-out text: half a token a byte."""
    told = uniformity(np.array([6, 0, 0, 0]), np.array([3, 1, 0, 0]), 8)
    assert told.uniform_bits_per_byte == 2 * 4 / 8
    first, other = 6.5 / 8, 0.5 / 8
    assert told.unigram_bits_per_byte == pytest.approx(-(3 * math.log2(first) + math.log2(other)) / 8)
    assert told.entropy_bits_per_byte == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) * 4 / 8)
    assert told.used == 2


def test_uniform_tokens_cost_the_same_either_way() -> None:
    told = uniformity(np.full(256, 100), np.full(256, 10), 1000)
    assert told.uniform_bits_per_byte == pytest.approx(8 * 2.56)
    assert told.unigram_bits_per_byte == pytest.approx(told.entropy_bits_per_byte) == pytest.approx(8 * 2.56)


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="not of one vocabulary"):
        uniformity(np.ones(3), np.ones(4), 1)
    with pytest.raises(ValueError, match="needs held-out text"):
        uniformity(np.ones(3), np.zeros(3), 1)
