"""Tanh and sums of products of lanes."""

import math

from models.trainability.lanes import (
    LANES,
    fused,
    load,
    magnitude,
    pick_if_less,
    power_of_two,
    products,
    spread,
    store,
    with_sign_of,
)
from shammie.jit import compiled, inlined

_BLOCK_4_4 = products(4, 4, per_lane=False)
_BLOCK_4_1 = products(4, 1, per_lane=False)
_BLOCK_1_4 = products(1, 4, per_lane=False)
_BLOCK_1_1 = products(1, 1, per_lane=False)
_LANE_4_4 = products(4, 4, per_lane=True)
_LANE_4_1 = products(4, 1, per_lane=True)
_LANE_1_4 = products(1, 4, per_lane=True)
_LANE_1_1 = products(1, 1, per_lane=True)

# exp(r) = (C + r) / (C - r) with C = r coth(r / 2), an even function: C = 2 + r^2 (c1 + r^2 (c2 + ...)).
# Taylor's coefficients 2 B_2k / (2k)!; at |r| <= log(2) / 2 the first left out adds less than 1e-17.
_COTH = (
    1 / 6,
    -1 / 360,
    1 / 15120,
    -1 / 604800,
    1 / 23950080,
    -691 / 653837184000,
)
_MAGIC = 1.5 * 2.0**52  # added to a number, leaves it rounded to a whole one in the last bits
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_TANH_END = 20.0  # the largest argument that matters: from 18.8 on tanh is 1 in float64


@inlined
def tanh(value):
    """Tanh of each lane, exactly odd, exactly 1 from 18.8 on, within 3 units in the last place elsewhere."""
    end, one, magic = spread(_TANH_END), spread(1.0), spread(_MAGIC)
    size = magnitude(value)
    size = pick_if_less(end, size, end, size)  # not a number stays what it is
    shifted = fused(size, spread(2 / math.log(2)), magic)
    whole = shifted - magic
    rest = fused(whole, spread(-_LN2_HIGH), size + size)
    rest = fused(whole, spread(-_LN2_LOW), rest)
    square = rest * rest
    even = fused(spread(_COTH[5]), square, spread(_COTH[4]))
    even = fused(even, square, spread(_COTH[3]))
    even = fused(even, square, spread(_COTH[2]))
    even = fused(even, square, spread(_COTH[1]))
    even = fused(even, square, spread(_COTH[0]))
    even = fused(even, square, spread(2.0))
    power = power_of_two(shifted)
    less, more = power - one, power + one
    top = fused(even, less, rest * more)
    bottom = fused(even, more, rest * less)
    found = top / bottom
    found = pick_if_less(one, found, one, found)
    return with_sign_of(found, value)


@compiled
def tanh_of(values, found):
    """Tanh of float64 [N] into found, N a multiple of LANES: for tests."""
    for at in range(0, values.size, LANES):
        store(found, at, tanh(load(values, at)))


@compiled
def add_products(
    left, left_at, left_row, left_step, rows, right, right_at, right_step, columns, sums, sums_at, sums_row, count
):
    """Adds products to sums: sums[r, c] += left[r, i] right[i, c], i = 0 .. count - 1 in this order, for each lane.

    Args:
        left: one number for all lanes, at left_at + r left_row + i left_step.
        left_at: see left.
        left_row: see left.
        left_step: see left.
        rows: r's.
        right: lanes, at right_at + i right_step + c LANES.
        right_at: see right.
        right_step: see right.
        columns: c's.
        sums: lanes, at sums_at + r sums_row + c LANES.
        sums_at: see sums.
        sums_row: see sums.
        count: i's.
    """
    row = 0
    while row < rows:
        a, o = left_at + row * left_row, sums_at + row * sums_row
        column = 0
        if row + 4 <= rows:
            while column + 4 <= columns:
                at = column * LANES
                _BLOCK_4_4(
                    left, a, left_row, left_step, right, right_at + at, right_step, sums, o + at, sums_row, count
                )
                column += 4
            while column < columns:
                at = column * LANES
                _BLOCK_4_1(
                    left, a, left_row, left_step, right, right_at + at, right_step, sums, o + at, sums_row, count
                )
                column += 1
            row += 4
        else:
            while column + 4 <= columns:
                at = column * LANES
                _BLOCK_1_4(
                    left, a, left_row, left_step, right, right_at + at, right_step, sums, o + at, sums_row, count
                )
                column += 4
            while column < columns:
                at = column * LANES
                _BLOCK_1_1(
                    left, a, left_row, left_step, right, right_at + at, right_step, sums, o + at, sums_row, count
                )
                column += 1
            row += 1


@compiled
def add_products_per_lane(left, left_row, left_step, rows, right, right_step, columns, sums, sums_row, count):
    """`add_products` whose left factor has lanes too."""
    row = 0
    while row < rows:
        a, o = row * left_row, row * sums_row
        column = 0
        if row + 4 <= rows:
            while column + 4 <= columns:
                at = column * LANES
                _LANE_4_4(left, a, left_row, left_step, right, at, right_step, sums, o + at, sums_row, count)
                column += 4
            while column < columns:
                at = column * LANES
                _LANE_4_1(left, a, left_row, left_step, right, at, right_step, sums, o + at, sums_row, count)
                column += 1
            row += 4
        else:
            while column + 4 <= columns:
                at = column * LANES
                _LANE_1_4(left, a, left_row, left_step, right, at, right_step, sums, o + at, sums_row, count)
                column += 4
            while column < columns:
                at = column * LANES
                _LANE_1_1(left, a, left_row, left_step, right, at, right_step, sums, o + at, sums_row, count)
                column += 1
            row += 1
