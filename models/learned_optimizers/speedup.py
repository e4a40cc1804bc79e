"""VeLO's score: how many steps of learning-rate-tuned Adam an optimizer's loss is worth (arXiv:2211.09760, figure 1).

R = learning rates, S = seeds, P = points of a curve.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shammie.errors import UserError

SMOOTHING = 0.95  # of curves, over their points, as the reference has it
POINTS = 512  # that an envelope is resampled to


class Envelope(NamedTuple):
    """The lowest loss that a tuned baseline has reached by each step.

    Attributes:
        steps_P: rising from 0, float64.
        losses_P: never rising, float64.
    """

    steps_P: np.ndarray
    losses_P: np.ndarray


def smoothed(losses_P: np.ndarray, decay: float = SMOOTHING) -> np.ndarray:
    """Moving averages over points, float64 [..., P]: x <- decay x + (1 - decay) loss, from the first loss on."""
    losses = np.asarray(losses_P, np.float64)
    found = losses.copy()
    for point in range(1, losses.shape[-1]):
        found[..., point] = decay * found[..., point - 1] + (1 - decay) * losses[..., point]
    return found


def mean_curve(losses_SP: np.ndarray, decay: float = SMOOTHING) -> np.ndarray:
    """The mean over seeds, then smoothed, float64 [..., P]; NaN from where a seed's training stopped being finite."""
    losses = np.asarray(losses_SP, np.float64)
    return smoothed(np.where(np.isfinite(losses), losses, np.nan).mean(axis=-2), decay)


def envelope(steps_P: ArrayLike, losses_RSP: np.ndarray, *, decay: float = SMOOTHING, points: int = POINTS) -> Envelope:
    """The lower envelope of a sweep over learning rates.

    Seeds are averaged and curves smoothed; of all rates the lowest is taken at each point, rates that diverged aside;
    it is resampled to even steps, and what was reached once counts from then on.

    Args:
        steps_P: of the points, rising.
        losses_RSP: by learning rate, seed and point.
        decay: of the smoothing.
        points: of the envelope, as many as the reference's 512 unless told otherwise.

    Raises:
        UserError: every learning rate diverged at some point, or the shapes do not fit.
    """
    steps, losses = np.asarray(steps_P, np.float64), np.asarray(losses_RSP, np.float64)
    if losses.ndim != 3 or losses.shape[-1] != len(steps) or not losses.size:
        raise UserError(f"losses of shape {losses.shape} for {len(steps)} steps", "give [rates, seeds, points]")
    curves_RP = mean_curve(losses, decay)
    lost_P = np.isnan(curves_RP).all(axis=0)
    if lost_P.any():
        raise UserError(
            f"no learning rate of the baseline stayed finite to step {steps[lost_P][0]:.0f}", "add lower learning rates"
        )
    even = np.linspace(0, steps[-1], points)
    lowest = np.interp(even, steps, np.nanmin(curves_RP, axis=0))
    return Envelope(even, np.minimum.accumulate(lowest))


def steps_to_reach(baseline: Envelope, loss: np.ndarray | float) -> np.ndarray:
    """After how many steps the baseline first has a loss, interpolated; float64, of the loss's shape.

    A loss that it never has counts as its last step, one above its first as step 0, and one that is not finite as 0.
    """
    loss = np.asarray(loss, np.float64)
    # where losses are equal np.interp takes the last of them, here the first step
    found = np.interp(loss, baseline.losses_P[::-1], baseline.steps_P[::-1])
    return np.where(np.isfinite(loss), found, 0.0)


def speedup(baseline: Envelope, loss: np.ndarray | float, steps: float) -> np.ndarray:
    """The score: the baseline's steps to a loss over the steps that the optimizer took to it; float64.

    2 means that tuned Adam takes twice as many. At most the baseline's last step over `steps`: a score there says "at
    least". 0 for a training that diverged.

    Raises:
        UserError: steps is not above 0.
    """
    if not steps > 0:
        raise UserError(f"the optimizer took {steps} steps", "give a number above 0")
    return steps_to_reach(baseline, loss) / steps
