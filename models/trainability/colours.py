"""The paper's colouring: ranks in place of values, each sign apart, on a map from red to blue."""

import functools

import numpy as np

GAP = 0.25


def ranked(values: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Values as evenly spread ranks that keep their sign, then negated: float64 in [-1, -0.25] and [0.25, 1].

    Source: the notebook of arXiv:2402.06184, `cdf_img`. What converged is above 0, fastest nearest to 0.25.

    Args:
        values: float64 of any shape.
        reference: values whose ranks are meant, such as a whole picture's for one tile; by default the values.
    """
    known = np.sort(np.ravel(values if reference is None else reference))
    known = known[~np.isnan(known)]
    negative = int((known < 0).sum())
    ranks = np.concatenate([np.linspace(-1, -GAP, negative), np.linspace(GAP, 1, known.size - negative)])
    nowhere = np.isnan(values)
    if not known.size:
        return np.full(np.shape(values), np.nan)
    if known[0] < 0 <= known[-1]:  # a value between two of the reference must not fall into the gap between the signs
        split = [np.interp(values, known[part], ranks[part]) for part in (slice(negative), slice(negative, None))]
        return np.where(nowhere, np.nan, -np.where(np.asarray(values) < 0, *split))
    return np.where(nowhere, np.nan, -np.interp(values, known, ranks))


def colours_of(values: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """The picture of values, uint8 [H, W, 3], red where training diverged and blue where it converged.

    Row 0 is the first of values; the paper has the least output-layer learning rate at the bottom.

    Args:
        values: float64 [H, W], as `models.trainability.convergence.measure` has them; not a number is black.
        reference: see `ranked`.
    """
    heights = ranked(values, reference)
    places = np.clip((np.nan_to_num(heights) + 1) / 2 * 256, 0, 255).astype(np.int64)
    return np.where(np.isnan(heights)[..., None], np.uint8(0), _spectral()[places])


@functools.cache
def _spectral() -> np.ndarray:
    """The map Spectral of matplotlib, uint8 [256, 3]."""
    from matplotlib import colormaps

    return colormaps["Spectral"](np.arange(256), bytes=True)[:, :3]
