"""One number for a training: whether it converged, and how fast it did or did not."""

from dataclasses import dataclass

import numpy as np

from models.trainability.kernels import CLIP, TAIL


@dataclass(frozen=True, eq=False)
class Pixels:
    """Results, one for each pixel.

    Args:
        value: float64 [P], the notebook's measure: below 0 where training converged, above 0 where it did not.
        converged: bool [P].
        final_loss: float64 [P], the last loss that was measured, before the last update that was run.
        steps_run: int64 [P], the steps that were run: fewer than the problem's where the rest was known.
    """

    value: np.ndarray
    converged: np.ndarray
    final_loss: np.ndarray
    steps_run: np.ndarray


def measure(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The notebook's measure of convergence.

    A loss that is not finite becomes 1e6; losses are divided by the first and clipped at 1e6. A training converged if
    its last 20 have a mean below 1. Its value is minus their sum if so, else the sum of their inverses. (The notebook
    multiplies by `isfinite` where this says "becomes": the same as XLA compiles it, not a number as it is written.)

    Args:
        losses: float64 [P, T], each before that step's update.

    Returns:
        The values, float64 [P], and whether each converged, bool [P].
    """
    relative = np.where(np.isfinite(losses), losses, CLIP)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = relative / relative[:, :1]
        relative = np.where(relative > CLIP, CLIP, relative)
        converged = relative[:, -TAIL:].mean(axis=1) < 1
        return np.where(converged, -relative.sum(axis=1), (1 / relative).sum(axis=1)), converged
