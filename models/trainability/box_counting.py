"""Box counting: how the number of boxes that a boundary touches grows as the boxes shrink.

Two estimators. The notebook's (arXiv:2402.06184, by way of PoreSpy's `metrics.boxcount`): about ten sizes from 10
pixels to the image, not powers of two, and the median of the local slopes of all zoom levels. And least squares over
powers of two, which is exact on sets that are made by halving, where the first one is biased up (1.72 instead of 1.585
on Sierpinski's triangle).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
# an image's box sides, 10 to 512 pixels, span 5.7 doublings: levels that are nearer than that share scales
RUN_LEVELS = 6


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def edges_of(values_HW: np.ndarray) -> np.ndarray:
    """Where the sign changes: the blocks of 2 x 2 pixels that have both signs, bool [H - 1, W - 1]."""
    above = np.asarray(values_HW) > 0
    blocks = [above[1:, 1:], above[1:, :-1], above[:-1, 1:], above[:-1, :-1]]
    return np.logical_or.reduce(blocks) & ~np.logical_and.reduce(blocks)


def notebook_sizes(side: int) -> np.ndarray:
    """The notebook's box sides for an image of a side, in pixels: [at most 10], from 10 to the side."""
    return np.unique(np.logspace(1, np.log10(side), 10).astype(int))


def dyadic_sizes(side: int) -> np.ndarray:
    """Powers of two from 2 to half of the side, the side rounded up to a power of two; in pixels."""
    top = int(np.ceil(np.log2(side)))
    return 2 ** np.arange(1, max(2, top))


def box_counts(edges_HW: np.ndarray, sizes: Sequence[int] | np.ndarray, *, full: bool = True) -> np.ndarray:
    """How many boxes of each side hold any of the set.

    Args:
        edges_HW: the set, bool.
        sizes: box sides, in pixels; boxes at the right and upper end may be cut off.
        full: count boxes that the set fills, too; PoreSpy does not.

    Returns:
        int [len(sizes)].
    """
    edges = np.asarray(edges_HW, bool)
    counts = []
    for size in sizes:
        held = _per_box(edges, int(size))
        boxes = held > 0
        if not full:
            boxes &= held < _per_box(np.ones_like(edges), int(size))
        counts.append(int(boxes.sum()))
    return np.array(counts)


def _per_box(edges_HW: np.ndarray, size: int) -> np.ndarray:
    """Pixels of the set in each box."""
    height, width = edges_HW.shape
    rows = np.add.reduceat(edges_HW.astype(np.int64), np.arange(0, height, size), axis=0)
    return np.add.reduceat(rows, np.arange(0, width, size), axis=1)


def local_slopes(edges_HW: np.ndarray) -> np.ndarray:
    """The notebook's local slopes, -d log N / d log size at each of its sizes; none of a set that is empty there.

    Sizes at which no box counts are left out: their logarithm would make the median minus infinity.
    """
    sizes = notebook_sizes(min(edges_HW.shape))
    counts = box_counts(edges_HW, sizes, full=False)
    held = counts > 0
    if held.sum() < 2:
        return np.zeros(0)
    return -np.gradient(np.log(counts[held]), np.log(sizes[held]))


def notebook_dimension(edges_HW: np.ndarray) -> float:
    """The median of the local slopes of one image; NaN where the set is empty."""
    slopes = local_slopes(edges_HW)
    return float(np.median(slopes)) if len(slopes) else float("nan")


def dyadic_dimension(edges_HW: np.ndarray) -> float:
    """The slope of log2 N over powers of two, by least squares; NaN where the set is empty."""
    sizes = dyadic_sizes(max(edges_HW.shape))
    counts = box_counts(edges_HW, sizes)
    if not counts.all():
        return float("nan")
    return float(-np.polyfit(np.log2(sizes), np.log2(counts), 1)[0])


def median_over_levels(slopes_of_levels: Sequence[np.ndarray | Sequence[float]], *, seed: int = 0) -> Interval:
    """The median of all levels' slopes together, with a 95 % interval over levels.

    The bootstrap is that of circular blocks (Politis and Romano 1992): the slopes of one image are not independent, nor
    are those of levels that share scales, so runs of `RUN_LEVELS` neighbouring levels are drawn, shorter ones where
    there are fewer than three such runs. The interval is of one path through one plane: it says nothing of others.

    Args:
        slopes_of_levels: of each zoom level its slopes (or its one estimate); levels without any do not count.
        seed: of the bootstrap.

    Returns:
        The interval; NaN throughout where no level has a slope.
    """
    levels = [np.asarray(one, float) for one in slopes_of_levels]
    levels = [one[np.isfinite(one)] for one in levels]
    levels = [one for one in levels if len(one)]
    if not levels:
        return Interval(float("nan"), float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    run = max(1, min(RUN_LEVELS, len(levels) // 3))
    starts = random.integers(len(levels), size=(RESAMPLES, -(-len(levels) // run), 1))
    drawn = ((starts + np.arange(run)) % len(levels)).reshape(RESAMPLES, -1)[:, : len(levels)]
    medians = [np.median(np.concatenate([levels[one] for one in some])) for some in drawn]
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(np.median(np.concatenate(levels))), float(low), float(high))
