"""The interval's exact laws at any depth, against fractions."""

from fractions import Fraction
from math import ceil

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.equal_info.streams.interval import carry, fits, log2_floor, shortest, symbol_at, write_point

limbs = st.lists(st.sampled_from([0, 1, 0x7FFF, 0xFFFE, 0xFFFF]), min_size=0, max_size=6)
widths = st.integers(1 << 32, (1 << 48) - 1)


@given(upper=limbs, low=st.integers(0, (1 << 48) - 1), width=widths, window_bits=st.integers(9, 128))
@settings(max_examples=400, deadline=None)
def test_the_code_is_the_shortest_and_lowest_inside(upper: list[int], low: int, width: int, window_bits: int) -> None:
    count = len(upper)
    whole = sum(limb << 16 * (count - 1 - place) for place, limb in enumerate(upper))
    if whole == (1 << 16 * count) - 1 and low + width > 1 << 48:  # beyond the end of the line
        low = (1 << 48) - width
    unit = Fraction(1, 1 << (48 + 16 * count))
    begin, end = ((whole << 48) + low) * unit, ((whole << 48) + low + width) * unit
    bits = next(b for b in range(300) if Fraction(ceil(begin * 2**b) + 1, 2**b) <= end)
    value = ceil(begin * 2**bits)
    assert bool(fits(low, width, count, window_bits)) == (bits <= window_bits)
    offset, step = shortest(low, width)
    assert 48 + 16 * count - step == bits
    out = np.zeros(16, np.uint16)
    write_point(np.array([*upper, 0], np.int64), count, low + offset, out)
    written = sum(int(limb) << 16 * (15 - place) for place, limb in enumerate(out))
    assert Fraction(written, 1 << 256) == Fraction(value, 2**bits)
    cut = np.zeros(2, np.uint16)  # a window's code has fewer limbs than its interval
    write_point(np.array([*upper, 0], np.int64), count, low + offset, cut)
    assert cut.tolist() == out[:2].tolist()


@given(upper=st.lists(st.sampled_from([0, 1, 0xFFFF]), min_size=1, max_size=6).filter(lambda limbs: limbs[0] < 0xFFFF))
def test_a_carry_is_an_addition(upper: list[int]) -> None:
    array = np.array(upper, np.uint16)
    carry(array, len(upper))
    value = lambda limbs: sum(int(limb) << 16 * place for place, limb in enumerate(reversed(list(limbs))))  # noqa: E731
    assert value(array) == value(upper) + 1


@given(width=widths)
def test_log2_is_the_highest_bit(width: int) -> None:
    assert log2_floor(width) == width.bit_length() - 1


@given(width=widths, share=st.fractions(0, 1).filter(lambda share: share < 1), seed=st.integers(0, 9))
def test_every_point_is_some_symbols(width: int, share: Fraction, seed: int) -> None:
    frequency = np.random.default_rng(seed).multinomial((1 << 14) - 256, np.full(256, 1 / 256)) + 1
    cumulative = np.concatenate([[0], np.cumsum(frequency)]).astype(np.int32)
    offset = int(share * width)
    symbol = symbol_at(width, cumulative, offset, 14)
    assert width * int(cumulative[symbol]) >> 14 <= offset < width * int(cumulative[symbol + 1]) >> 14
