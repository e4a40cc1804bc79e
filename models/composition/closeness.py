"""How close samples are to a known density: likelihood, MMD, covariance, and both Kullback-Leibler divergences.

The mean log-likelihood alone ranks wrong samplers best: samples drawn together at the density's peak have a higher
one than the density's own. Read it beside the others. NumPy and SciPy in float64.

N samples, M samples of the truth, D axes.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist, pdist

from shammie.errors import UserError

NEIGHBOURS = 5
CHUNK = 1024  # rows of a matrix of distances that are in memory at a time
MEDIAN_OF = 2000  # points of which the median distance is taken


class Kernel(NamedTuple):
    """A Gaussian kernel with what of the truth's does not depend on samples.

    Attributes:
        width: its standard deviation, the median distance of two points of the truth.
        truth_MD: samples of the truth.
        within: the kernel's mean over pairs of different ones of these.
    """

    width: float
    truth_MD: np.ndarray
    within: float


def median_kernel(truth_MD: np.ndarray) -> Kernel:
    """The kernel by which samples are compared with a truth (Gretton et al. 2012, section 8: the median heuristic).

    Args:
        truth_MD: samples of the truth, 2 or more.
    """
    truth_MD = _points(truth_MD, 2)
    width = float(np.median(pdist(truth_MD[:MEDIAN_OF])))
    return Kernel(width, truth_MD, _within(truth_MD, width))


def squared_mmd(x_ND: np.ndarray, kernel: Kernel) -> float:
    """The squared maximum mean discrepancy, without bias, so that it may be below 0 (Gretton et al. 2012, eq. 3).

    Args:
        x_ND: the samples, 2 or more.
        kernel: of the truth.
    """
    x_ND = _points(x_ND, 2)
    across = _kernel_sum(x_ND, kernel.truth_MD, kernel.width) / (len(x_ND) * len(kernel.truth_MD))
    return _within(x_ND, kernel.width) + kernel.within - 2.0 * across


class CovarianceError(NamedTuple):
    """How far the samples' covariance C is from the truth's, C*.

    Attributes:
        relative: ||C - C*|| / ||C*||, Frobenius norms: the largest axis decides.
        whitened: ||C*^-1/2 C C*^-1/2 - I|| / sqrt(D): every axis counts alike, however thin.
        absolute: the mean over axes of |var - var*|.
    """

    relative: float
    whitened: float
    absolute: float


def covariance_error(x_ND: np.ndarray, covariance_DD: np.ndarray) -> CovarianceError:
    """Compares a covariance with the truth's.

    Args:
        x_ND: the samples, 2 or more.
        covariance_DD: of the truth, positive definite.
    """
    covariance_DD = np.asarray(covariance_DD, np.float64)
    found_DD = np.cov(_points(x_ND, 2).T)
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    half_DD = vectors_DD / np.sqrt(values_D)
    white_DD = half_DD.T @ found_DD @ half_DD - np.eye(len(values_D))
    return CovarianceError(
        float(np.linalg.norm(found_DD - covariance_DD) / np.linalg.norm(covariance_DD)),
        float(np.linalg.norm(white_DD) / math.sqrt(len(values_D))),
        float(np.mean(np.abs(np.diag(found_DD - covariance_DD)))),
    )


def divergence(p_ND: np.ndarray, q_MD: np.ndarray, neighbours: int = NEIGHBOURS) -> float:
    """KL(p || q) in nats, from samples alone (Wang, Kulkarni and Verdu 2009, eq. 5).

    It compares the distance from each point of p to its k-th neighbour in p with that to its k-th in q. It is biased
    towards 0 where samples are few and the densities far apart, and may be below 0.

    Args:
        p_ND: samples of p, more than k.
        q_MD: samples of q, k or more.
        neighbours: k.
    """
    p_ND, q_MD = _points(p_ND, neighbours + 1), _points(q_MD, neighbours)
    within_N = _distances(p_ND, p_ND, neighbours + 1)  # the first is the point itself
    across_N = _distances(q_MD, p_ND, neighbours)
    tiny = np.finfo(np.float64).tiny  # points that coincide
    ratios_N = np.log(np.maximum(across_N, tiny)) - np.log(np.maximum(within_N, tiny))
    return float(p_ND.shape[1] * ratios_N.mean() + math.log(len(q_MD) / (len(p_ND) - 1)))


def _points(x_ND: np.ndarray, least: int) -> np.ndarray:
    x_ND = np.asarray(x_ND, np.float64)
    if x_ND.ndim != 2 or len(x_ND) < least or not np.isfinite(x_ND).all():
        raise UserError(
            f"samples to compare have shape {x_ND.shape}" + ("" if np.isfinite(x_ND).all() else ", not all finite"),
            f"give {least} or more finite points, [points, axes]",
        )
    return x_ND


def _distances(among_MD: np.ndarray, x_ND: np.ndarray, neighbour: int) -> np.ndarray:
    """From each point to its so-manieth neighbour; float64 [N]."""
    only: Any = [neighbour]
    return np.asarray(KDTree(among_MD).query(x_ND, only)[0])[:, 0]


def _within(x_ND: np.ndarray, width: float) -> float:
    """The kernel's mean over pairs of different points."""
    count = len(x_ND)
    return (_kernel_sum(x_ND, x_ND, width) - count) / (count * (count - 1))


def _kernel_sum(x_ND: np.ndarray, y_MD: np.ndarray, width: float) -> float:
    starts = range(0, len(x_ND), CHUNK)
    squares = (cdist(x_ND[start : start + CHUNK], y_MD, "sqeuclidean") for start in starts)
    return float(sum(np.exp(square / (-2.0 * width**2)).sum() for square in squares))
