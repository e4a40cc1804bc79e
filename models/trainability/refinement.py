"""Zoom by refinement: of the next level only those tiles are computed whose parents hold boundary.

A frame is a square of tiles of one level. The next frame lies within it and has tiles of half the size; where the
parent's pixels have one sign all around, so, it is taken, have the children's, and the parent's values are shown,
interpolated. A zoom then costs the boundary, not the area. What that misses is islands that fall between the parent's
pixels; a margin around the boundary, and following it out of the computed tiles, keep them few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.trainability.box_counting import edges_of
from models.trainability.windows import Tile
from shammie.errors import UserError

# computes tiles: values [tile_pixels, tile_pixels] of each, rows rising with y; above 0 diverged, below converged
Compute = Callable[[Sequence[Tile]], Sequence[np.ndarray]]
PATHS = ("random", "balance", "most")
Path = Literal["random", "balance", "most"]


@dataclass(frozen=True)
class Frame:
    """A square of tiles of one level.

    Attributes:
        level: of the tiles.
        column: of the tiles at its left.
        row: of the tiles at its lower side.
        values: of the pixels, [side, side], rows rising with y; above 0 diverged, below converged.
        computed: [tiles, tiles], which tiles were computed; the others show their parent's values.
    """

    level: int
    column: int
    row: int
    values: np.ndarray
    computed: np.ndarray

    @property
    def tiles(self) -> int:
        """Tiles a side."""
        return len(self.computed)

    @property
    def tile_pixels(self) -> int:
        """Pixels a side of a tile."""
        return len(self.values) // self.tiles

    def tile(self, row: int, column: int) -> Tile:
        """The address of the tile at a place within the frame."""
        return Tile(self.level, self.column + column, self.row + row)


def whole_frame(compute: Compute, level: int) -> Frame:
    """A level's frame of the whole window, every tile computed."""
    nothing = np.zeros((2**level,) * 2, bool)
    return _filled(Frame(level, 0, 0, np.zeros((0, 0)), nothing), compute, ~nothing)


def computed_in_full(frame: Frame, compute: Compute) -> Frame:
    """The same frame with every tile computed: what refinement is measured by."""
    return _filled(frame, compute, ~frame.computed)


def refined(
    frame: Frame, compute: Compute, *, column: int = 0, row: int = 0, tiles: int = 0, margin: int = 1, rounds: int = 1
) -> Frame:
    """The next level of a frame, or of a square part of it.

    Args:
        frame: what is refined.
        compute: computes tiles.
        column: where the part starts, in tiles of the next level from the frame's left side.
        row: likewise from its lower side.
        tiles: the part's side, in tiles of the next level; 0 takes the whole frame.
        margin: a tile is computed if boundary lies within so many of the parent's pixels of it.
        rounds: how often boundary that leaves the computed tiles is followed into their neighbours.

    Raises:
        UserError: the part reaches out of the frame.
    """
    tiles = tiles or 2 * frame.tiles
    if not (0 <= column and 0 <= row and max(column, row) + tiles <= 2 * frame.tiles):
        raise UserError(
            f"a part of {tiles} tiles at {column}, {row} reaches out of a frame of {2 * frame.tiles}",
            "choose one within it",
        )
    half = frame.tile_pixels // 2
    wanted = _near(_boundary(frame.values), half, margin)[row : row + tiles, column : column + tiles]
    side = tiles * frame.tile_pixels
    corner = (row * frame.tile_pixels, column * frame.tile_pixels)
    child = Frame(
        frame.level + 1,
        2 * frame.column + column,
        2 * frame.row + row,
        upsampled(frame.values)[corner[0] : corner[0] + side, corner[1] : corner[1] + side],
        np.zeros((tiles, tiles), bool),
    )
    child = _filled(child, compute, wanted)
    for _ in range(rounds):
        leaving = _near(_boundary(child.values), child.tile_pixels, margin) & ~child.computed
        if not leaving.any():
            break
        child = _filled(child, compute, leaving)
    return child


def next_part(frame: Frame, tiles: int, step: int, path: Path, *, seed: int = 0) -> tuple[int, int]:
    """Where a zoom by two goes on: a part of half the frame's side that has boundary at its middle.

    Args:
        frame: where the zoom is.
        tiles: the part's side, in tiles of the next level.
        step: the part starts at a multiple of so many tiles.
        path: "random": towards a pixel of the boundary, drawn by the seed, so that places count as they hold boundary;
            "balance": where most nearly half of the pixels diverge; "most": where the boundary is longest.
        seed: of the draw.

    Returns:
        Column and row in tiles of the next level, for `refined`.

    Raises:
        UserError: the frame has no boundary.
    """
    boundary = _boundary(frame.values)
    if not boundary.any():
        raise UserError(
            f"the frame at level {frame.level}, {frame.column}, {frame.row} holds no boundary",
            "a zoom needs some: choose another window or condition",
        )
    half = frame.tile_pixels // 2
    most = 2 * frame.tiles - tiles
    starts = range(0, most + 1, step)
    if path == "random":
        rows, columns = np.nonzero(boundary)
        one = np.random.default_rng([seed, frame.level]).integers(len(rows))
        middle = [(place[one] + 0.5) / half - tiles / 2 for place in (columns, rows)]
        column, row = (min(starts, key=lambda start, at=at: abs(start - at)) for at in middle)
        return column, row
    side = tiles * half

    def score(at: tuple[int, int]) -> tuple[float, ...]:
        row, column = at
        place = np.s_[row * half : row * half + side, column * half : column * half + side]
        off = abs(row - most / 2) + abs(column - most / 2)
        length = float(boundary[place].sum())
        if path == "most":
            return (-length, off, row, column)
        return (abs(float((frame.values[place] > 0).mean()) - 0.5), -length, off, row, column)

    row, column = min(((row, column) for row in starts for column in starts), key=score)
    return column, row


def _filled(frame: Frame, compute: Compute, wanted: np.ndarray) -> Frame:
    """The frame with some tiles computed."""
    places = [(int(row), int(column)) for row, column in zip(*np.nonzero(wanted), strict=True)]
    found = compute([frame.tile(row, column) for row, column in places]) if places else []
    values = frame.values.copy()
    if not values.size:
        values = np.zeros((frame.tiles * len(found[0]),) * 2)
    pixels = len(values) // frame.tiles
    for (row, column), tile in zip(places, found, strict=True):
        values[row * pixels : (row + 1) * pixels, column * pixels : (column + 1) * pixels] = tile
    return Frame(frame.level, frame.column, frame.row, values, frame.computed | wanted)


def upsampled(values: np.ndarray) -> np.ndarray:
    """Values between pixels, [2 side, 2 side]: bilinear, but never with another sign than the pixel they lie in."""
    nearest = np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)
    between = nearest
    for axis in (0, 1):
        ahead = np.take(between, np.minimum(np.arange(between.shape[axis]) + 1, between.shape[axis] - 1), axis)
        behind = np.take(between, np.maximum(np.arange(between.shape[axis]) - 1, 0), axis)
        between = between / 2 + (ahead + behind) / 4
    return np.where((between > 0) == (nearest > 0), between, nearest)


def _boundary(values: np.ndarray) -> np.ndarray:
    """The pixels that share a block of 2 x 2 with one of the other sign, bool [side, side]."""
    edges = edges_of(values)
    found = np.zeros(values.shape, bool)
    for rows in (np.s_[1:], np.s_[:-1]):
        for columns in (np.s_[1:], np.s_[:-1]):
            found[rows, columns] |= edges
    return found


def _near(marked: np.ndarray, pixels: int, margin: int) -> np.ndarray:
    """Which squares of so many pixels have a marked one within a margin, bool [side / pixels, side / pixels]."""
    side = len(marked)
    padded = np.zeros((side + 2 * margin,) * 2, bool)
    padded[margin : margin + side, margin : margin + side] = marked
    sums = np.zeros((len(padded) + 1,) * 2, np.int64)
    sums[1:, 1:] = padded.cumsum(axis=0).cumsum(axis=1)
    low = np.arange(0, side, pixels)
    high = low + pixels + 2 * margin
    within = sums[np.ix_(high, high)] - sums[np.ix_(high, low)] - sums[np.ix_(low, high)] + sums[np.ix_(low, low)]
    return within > 0


def missed_share(refined_values: np.ndarray, full_values: np.ndarray) -> float:
    """The share of the full image's blocks with both signs that the refined image does not have."""
    full, part = edges_of(full_values), edges_of(refined_values)
    return float((full & ~part).sum() / full.sum()) if full.any() else 0.0
