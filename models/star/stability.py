"""Closed forms of the noisy quadratic model: which rates are stable, where, and the loss they settle at.

All of one direction, of curvature h, with the learned block's eigenvalue p there; so of every direction if P commutes
with H. With averages b_k the eigenvalues z of the dynamics solve

    z - 1 + p h + a h mean_k (1 - b_k) z / (z - b_k) = 0.

Without a block no z on the unit circle does but 1, at a h = 0, and -1: for z = e^(i t) the imaginary parts of
(1 - b_k) z / ((z - b_k)(z - 1)) all have the sign of -sin t, so that they cannot cancel. So stability ends at z = -1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from models.star.noisy_quadratic import checked_decays, spectral_radius
from shammie.errors import UserError


def stability_limit(decays: Sequence[float] = ()) -> float:
    """What a h must stay below, without a learned block: 2 / mean_k (1 - b_k) / (1 + b_k).

    2 for SGD, 38 for momentum of decay 0.9, 398 for 0.99, 3998 for 0.999, and 103.169 for AggMo of all three.
    """
    return 2 / _slowness(checked_decays(decays))


def stable_rates(curvature: float, decays: Sequence[float] = (), eigenvalue: float = 0.0) -> tuple[float, float]:
    """The open interval of rates a >= 0 that are stable; (NaN, NaN) where none is.

    SGD needs 0 < (a + p) h < 2. Momentum needs by Jury's criterion a + p > 0, p h + a h (1 - b) / (1 + b) < 2, and
    b (1 - p h) < 1: no rate stabilizes a block that ascends by p h <= -(1 - b) / b, since momentum answers too late.

    Args:
        curvature: h, above 0.
        decays: b of each average; at most one if there is a block.
        eigenvalue: p.

    Raises:
        UserError: the curvature is not above 0, or AggMo's interval with a block is asked for (see `radius_map`).
    """
    decays_K = checked_decays(decays)
    if not curvature > 0:
        raise UserError(f"the curvature is {curvature}", "give one above 0")
    if eigenvalue and len(decays_K) > 1:
        raise UserError(f"there is no closed form for {len(decays_K)} averages and a block", "give one, or radius_map")
    if eigenvalue and len(decays_K) and decays_K[0] * (1 - eigenvalue * curvature) >= 1:
        return float("nan"), float("nan")
    low, high = max(0.0, -eigenvalue), (2 / curvature - eigenvalue) / _slowness(decays_K)
    return (low, high) if low < high else (float("nan"), float("nan"))


def radius_map(
    rates_A: ArrayLike, curvatures_C: ArrayLike, decays: Sequence[float] = (), eigenvalue: float = 0.0
) -> np.ndarray:
    """Spectral radii over rates and curvatures, a picture of the region of stability: float64 [A, C].

    Args:
        rates_A: a.
        curvatures_C: h.
        decays: b of each average.
        eigenvalue: p, the learned block's in this direction.
    """
    decays_K = checked_decays(decays)
    rate, curvature = np.meshgrid(np.asarray(rates_A, float), np.asarray(curvatures_C, float), indexing="ij")
    count = len(decays_K)
    A = np.zeros((*rate.shape, count + 1, count + 1))
    A[..., 0, 0] = 1 - (rate * (np.mean(1 - decays_K) if count else 1.0) + eigenvalue) * curvature
    for k, decay in enumerate(decays_K, start=1):
        A[..., 0, k] = -rate * decay / count
        A[..., k, 0] = (1 - decay) * curvature
        A[..., k, k] = decay
    return spectral_radius(A)


def closed_form_loss(
    rate: float,
    curvatures_D: np.ndarray,
    variances_D: np.ndarray,
    decay: float = 0.0,
    eigenvalues_D: np.ndarray | float = 0,
) -> float:
    """The expected loss that SGD or momentum settles at where H, S and P are diagonal in the same directions.

    Each direction's x has the variance u s / (2 - u r) with u = (a + p) h and r = (1 - b) / (1 + b): that of the
    autoregression of second order that momentum is. The loss is the sum of h (s + variance) / 2; SGD's h s / (2 - u).

    Args:
        rate: a.
        curvatures_D: h, above 0.
        variances_D: s, the targets'.
        decay: b; 0 for SGD.
        eigenvalues_D: p, for SGD only.

    Raises:
        UserError: a direction is unstable, or momentum with a block is asked for (see `stationary_loss`).
    """
    if decay and np.any(eigenvalues_D):
        raise UserError(f"there is no closed form for a decay of {decay} and a block", "use stationary_loss")
    slowness = _slowness(checked_decays([decay]))
    moved_D = (rate + np.asarray(eigenvalues_D, np.float64)) * np.asarray(curvatures_D, np.float64)
    if not np.all((moved_D > 0) & (moved_D * slowness < 2)):
        raise UserError(f"the rate {rate} is unstable or moves nothing", "choose one in stable_rates of all curvatures")
    variance_D = moved_D * variances_D / (2 - moved_D * slowness)
    return float(np.sum(curvatures_D * (variances_D + variance_D)) / 2)


def _slowness(decays_K: np.ndarray) -> float:
    """What the averages leave of a gradient that changes its sign each step: mean (1 - b) / (1 + b); 1 for SGD."""
    return float(np.mean((1 - decays_K) / (1 + decays_K))) if len(decays_K) else 1.0
