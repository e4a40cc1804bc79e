"""Where a pixel lies: tiles with integer addresses in a square window, and their hyperparameters, rounded once.

At level z a window has 2^z tiles a side, each of the same number of pixels; tile (z, column, row) has the four children
(z + 1, 2 column + {0, 1}, 2 row + {0, 1}). Columns run with x, rows with y, from the lower left. A pixel's place is
that of its centre, an exact fraction, so that the deepest tile is as exact as the first: only the hyperparameter
itself, a power of ten, is rounded, once.
"""

import math
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from shammie.errors import UserError

# digits of the powers of ten before they are rounded to the 16 of float64
_EXACT = Context(prec=50)
# neighbouring pixels must lie so many times float64's spacing apart: a place is then wrong by 1/8 of a pixel at most
SPACINGS = 4
_SPACING = 2.0**-52


class Tile(NamedTuple):
    """A tile's address: its level, and its column (with x) and row (with y) from the window's lower left corner."""

    level: int
    column: int
    row: int

    @property
    def parent(self) -> "Tile":
        """The tile of the level above that holds this one."""
        return Tile(self.level - 1, self.column // 2, self.row // 2)


@dataclass(frozen=True)
class Window:
    """A square part of the plane of two hyperparameters.

    Attributes:
        x_low: left end, as log10 of the hyperparameter where `logarithmic`, else the hyperparameter itself.
        y_low: lower end, likewise.
        side: right end less left end; both axes have the same.
        logarithmic: whether the axes are log10 of the hyperparameters.
    """

    x_low: Fraction = Fraction(-3)
    y_low: Fraction = Fraction(-3)
    side: Fraction = Fraction(9)
    logarithmic: bool = True

    def pitch(self, level: int, tile_pixels: int) -> Fraction:
        """From one pixel of a level to the next, in the axes' unit."""
        return self.side / (tile_pixels * 2**level)

    def deepest_level(self, tile_pixels: int) -> int:
        """The last level at which float64 tells neighbouring pixels apart with room to spare (`SPACINGS`)."""
        if self.logarithmic:  # spacing is relative, so that it is the same all over the window
            widest, unit = math.log(10) * float(self.side) / tile_pixels, _SPACING
        else:
            farthest = max(abs(end) for low in (self.x_low, self.y_low) for end in (low, low + self.side))
            widest, unit = float(self.side) / tile_pixels, float(np.spacing(float(farthest)))
        return max(0, math.floor(math.log2(widest / (SPACINGS * unit))))

    def check(self, tile: Tile, tile_pixels: int) -> None:
        """UserError where a tile lies outside of the window, or too deep for float64."""
        side = 2**tile.level if tile.level >= 0 else 0
        if not (0 <= tile.column < side and 0 <= tile.row < side):
            raise UserError(
                f"tile {tile.level}/{tile.column}/{tile.row} lies outside of the window",
                f"at level {tile.level} columns and rows run from 0 to {side - 1}"
                if side
                else "give a level of 0 or more",
            )
        self.check_level(tile.level, tile_pixels)

    def check_level(self, level: int, tile_pixels: int) -> None:
        """UserError where float64 does not tell a level's pixels apart."""
        deepest = self.deepest_level(tile_pixels)
        if level > deepest:
            raise UserError(
                f"level {level} is too deep a zoom: in float64 neighbouring pixels become the same number",
                f"with tiles of {tile_pixels} pixels level {deepest} is the last",
            )

    def tile_axes(self, tile: Tile, tile_pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """The hyperparameters of a tile's columns and rows.

        Returns:
            x [tile_pixels] and y [tile_pixels], float64, rising.

        Raises:
            UserError: the tile lies outside of the window, or too deep for float64.
        """
        self.check(tile, tile_pixels)
        return (
            _axis(self.x_low, self.pitch(tile.level, tile_pixels), self.logarithmic, tile.column, tile_pixels),
            _axis(self.y_low, self.pitch(tile.level, tile_pixels), self.logarithmic, tile.row, tile_pixels),
        )

    def tile_grid(self, tile: Tile, tile_pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """The hyperparameters of a tile's pixels, row by row from the lowest: x and y, [tile_pixels^2] each."""
        x, y = self.tile_axes(tile, tile_pixels)
        return np.tile(x, tile_pixels), np.repeat(y, tile_pixels)

    def place(self, level: int, column: float | Fraction, row: float | Fraction) -> tuple[Fraction, Fraction]:
        """Where a point lies, in the axes' unit, exactly; column and row count tiles of a level, or parts of them."""
        unit = self.side / 2**level
        return self.x_low + unit * Fraction(column), self.y_low + unit * Fraction(row)


PAPER_WINDOW = Window()


@lru_cache(maxsize=4096)
def _axis(low: Fraction, pitch: Fraction, logarithmic: bool, tile: int, pixels: int) -> np.ndarray:
    places = (low + pitch * (tile * pixels + pixel + Fraction(1, 2)) for pixel in range(pixels))
    values = np.array([_power_of_ten(place) if logarithmic else float(place) for place in places])
    values.flags.writeable = False  # shared by all tiles of a column
    return values


def _power_of_ten(exponent: Fraction) -> float:
    """10^exponent, rounded once."""
    exact = _EXACT.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    return float(_EXACT.power(Decimal(10), exact))
