"""How close samples on the plane are to the exact composed density, by every measure of `closeness`. N points."""

from typing import NamedTuple

import numpy as np

from models.composition.closeness import Kernel, covariance_error, divergence, median_kernel, squared_mmd
from models.composition.plane import Truth, truth
from models.composition.schedule import NoiseSchedule

EXACT_SEED = 71  # of the truth's samples that others are compared with: the same for all seeds of a table


class Closeness(NamedTuple):
    """The measures.

    Attributes:
        log_likelihood: mean under the truth, nats; above the truth's own where samples are too concentrated.
        squared_mmd: with the kernel of median width, unbiased.
        variance_error: `closeness.CovarianceError.relative`.
        whitened_variance_error: its `whitened`.
        absolute_variance_error: its `absolute`.
        kl_from_samples: KL(samples || truth), nats: what is where nothing should be.
        kl_from_truth: KL(truth || samples), nats: what is missing.
    """

    log_likelihood: float
    squared_mmd: float
    variance_error: float
    whitened_variance_error: float
    absolute_variance_error: float
    kl_from_samples: float
    kl_from_truth: float


NOWHERE = Closeness(*[float("nan")] * len(Closeness._fields))


class Judge(NamedTuple):
    """What samples of a pair are compared with.

    Attributes:
        truth: at level 0.
        exact_MD: samples of it, float64 [M, 2].
        kernel: of the MMD.
    """

    truth: Truth
    exact_MD: np.ndarray
    kernel: Kernel


def judge_of(pair: str, schedule: NoiseSchedule, count: int) -> Judge:
    """The judge of a pair's samples at level 0.

    Args:
        pair: one of `plane.PAIRS`.
        schedule: the noise.
        count: M, samples of the truth.
    """
    exact = truth(pair, float(schedule.alpha_bars_T[0] ** 0.5), float(schedule.noise_variances_T[0] ** 0.5))
    exact_MD = exact.sample(EXACT_SEED, count)
    return Judge(exact, exact_MD, median_kernel(exact_MD))


def closeness_of(x_ND: np.ndarray, judge: Judge) -> Closeness:
    """Measures samples; `NOWHERE` of fewer than a tenth as many as the judge has, which say nothing.

    Args:
        x_ND: finite points at level 0.
        judge: of their pair.
    """
    if 10 * len(x_ND) < len(judge.exact_MD):
        return NOWHERE
    return Closeness(
        float(judge.truth.log_density(x_ND).mean()),
        squared_mmd(x_ND, judge.kernel),
        *covariance_error(x_ND, judge.truth.covariance()),
        divergence(x_ND, judge.exact_MD),
        divergence(judge.exact_MD, x_ND),
    )
