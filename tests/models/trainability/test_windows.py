"""Addresses of tiles and the places of pixels, exact down to where float64 ends."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from models.trainability.windows import PAPER_WINDOW, SPACINGS, Tile, Window
from shammie.errors import UserError


def test_a_tiles_pixels_are_the_windows() -> None:
    x, y = PAPER_WINDOW.tile_axes(Tile(0, 0, 0), 4)
    np.testing.assert_allclose(np.log10(x), [-1.875, 0.375, 2.625, 4.875], atol=1e-12)
    np.testing.assert_array_equal(x, y)
    columns = [PAPER_WINDOW.tile_axes(Tile(2, column, 3), 4)[0] for column in range(4)]
    np.testing.assert_allclose(np.log10(np.concatenate(columns)), -3 + 9 * (np.arange(16) + 0.5) / 16, atol=1e-12)
    grid_x, grid_y = PAPER_WINDOW.tile_grid(Tile(2, 1, 3), 4)
    np.testing.assert_array_equal(grid_x.reshape(4, 4)[2], PAPER_WINDOW.tile_axes(Tile(2, 1, 3), 4)[0])
    np.testing.assert_array_equal(grid_y.reshape(4, 4)[:, 1], PAPER_WINDOW.tile_axes(Tile(2, 1, 3), 4)[1])


def test_places_are_rounded_once_at_any_depth() -> None:
    tile = Tile(48, 2**47 + 12345678912345, 2**46 + 17)
    x = PAPER_WINDOW.tile_axes(tile, 8)[0]
    with localcontext() as context:
        context.prec = 80
        for pixel in range(8):
            place = Fraction(-3) + Fraction(9, 8 * 2**48) * (tile.column * 8 + pixel) + Fraction(9, 16 * 2**48)
            exact = Decimal(10) ** (Decimal(place.numerator) / Decimal(place.denominator))
            half = Decimal(float(np.spacing(x[pixel]))) / 2
            assert abs(Decimal(float(x[pixel])) - exact) <= half


def test_neighbours_stay_apart_down_to_the_deepest_level_and_not_below() -> None:
    deepest = PAPER_WINDOW.deepest_level(8)
    for row in (0, 2**deepest // 3, 2**deepest - 1):
        x, y = PAPER_WINDOW.tile_axes(Tile(deepest, 2**deepest - 1 - row, row), 8)
        for axis in (x, y):
            assert (np.diff(axis) >= (SPACINGS - 1) * np.spacing(axis[:-1])).all()
    assert deepest == 51
    assert PAPER_WINDOW.deepest_level(16) == 50
    with pytest.raises(UserError, match=r"level 52 is too deep a zoom.*level 51 is the last"):
        PAPER_WINDOW.tile_axes(Tile(52, 0, 0), 8)


def test_a_linear_window_ends_where_its_farthest_number_does() -> None:
    window = Window(Fraction(-2), Fraction(-1), Fraction(3), logarithmic=False)
    deepest = window.deepest_level(8)
    x, _ = window.tile_axes(Tile(deepest, 0, 0), 8)
    assert len(set(x.tolist())) == 8
    np.testing.assert_allclose(window.tile_axes(Tile(0, 0, 0), 3)[1], [-0.5, 0.5, 1.5])
    with pytest.raises(UserError, match="too deep"):
        window.tile_axes(Tile(deepest + 1, 0, 0), 8)


@pytest.mark.parametrize("tile", [Tile(2, 4, 0), Tile(2, 0, -1), Tile(0, 0, 1), Tile(-1, 0, 0)])
def test_a_tile_outside_of_the_window_is_refused(tile: Tile) -> None:
    with pytest.raises(UserError, match=f"tile {tile.level}/{tile.column}/{tile.row} lies outside of the window"):
        PAPER_WINDOW.tile_axes(tile, 8)


def test_parents_hold_their_children() -> None:
    assert Tile(3, 5, 2).parent == Tile(2, 2, 1)
    assert PAPER_WINDOW.place(1, 1, Fraction(1, 2)) == (Fraction(3, 2), Fraction(-3, 4))
