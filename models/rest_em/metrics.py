"""What is measured of graded samples: pass@k, majority votes, difficulty buckets, and the intervals of each.

pass@k is the unbiased estimate of Chen et al. (arXiv:2107.03374 equation 1), maj@k the vote of Wang et al.
(arXiv:2203.11171), and the buckets are those of ReST-EM (arXiv:2312.06585). Intervals are two-sided.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from shammie.errors import UserError

Bucket = Literal["easy", "medium", "hard", "very hard"]
LEAST_RATES: dict[Bucket, float] = {"easy": 0.75, "medium": 0.5, "hard": 0.25, "very hard": 0.0}
CONFIDENCE = 0.95
RESAMPLES = 10_000
_AT_ONCE = 1 << 22  # indices of resamples that are drawn together


class Interval(NamedTuple):
    """An estimate between its bounds; for a share or a mean, in the unit of the values."""

    low: float
    mean: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that k of n samples, drawn without replacement, hold one of the c that passed: 1 - C(n-c,k)/C(n,k).

    Raises:
        shammie.errors.UserError: k is below 1 or over n, or c is no count of n.
    """
    if not 0 <= c <= n:
        raise UserError(f"{c} of {n} samples cannot have passed", "count each sample once")
    if not 1 <= k <= n:
        raise UserError(f"pass@{k} of {n} samples is not defined", f"draw at least {k} samples, k at least 1")
    return (math.comb(n, k) - math.comb(n - c, k)) / math.comb(n, k)


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float:
    """The mean of pass@k over problems.

    Args:
        counts: of each problem, how many samples it has and how many passed.
        k: as in `pass_at_k`.

    Raises:
        shammie.errors.UserError: there is no problem, or one has fewer than k samples.
    """
    if not counts:
        raise UserError(f"pass@{k} of no problems is not defined", "give at least one")
    return math.fsum(pass_at_k(n, c, k) for n, c in counts) / len(counts)


def majority(answers: Sequence[str], passed: Sequence[bool]) -> float:
    """Whether the most frequent answer is right, 0 or 1; among answers with as many votes, the mean over these.

    Samples without an answer ("") do not vote: they are wrong where no sample has one. Where the verifier differs
    over samples of one answer, the answer counts as the share of them that passed.

    Args:
        answers: of each sample, in normal form.
        passed: whether it is right.

    Raises:
        shammie.errors.UserError: there is no sample, or the lengths differ.
    """
    if not answers or len(answers) != len(passed):
        raise UserError(f"a vote of {len(answers)} answers and {len(passed)} verdicts", "give one verdict per answer")
    votes = Counter(answer for answer in answers if answer)
    most = max(votes.values(), default=0)
    winners = {answer for answer, number in votes.items() if number == most}
    right = sum(verdict for answer, verdict in zip(answers, passed, strict=True) if answer in winners)
    return right / (most * len(winners)) if winners else 0.0


def majority_at_k(answers: Sequence[str], passed: Sequence[bool], k: int) -> float:
    """maj@k: `majority` of the first k samples.

    Raises:
        shammie.errors.UserError: k is below 1 or there are fewer samples, or the lengths differ.
    """
    if not 1 <= k <= len(answers):
        raise UserError(f"maj@{k} of {len(answers)} samples is not defined", f"draw at least {k} samples, k at least 1")
    return majority(answers[:k], passed[:k])


def wilson_interval(passed: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for a share: passed of trials (Wilson 1927).

    Raises:
        shammie.errors.UserError: there is no trial, or more passed than were tried.
    """
    from scipy.stats import binomtest  # imported late: SciPy's statistics take a second

    if trials < 1 or not 0 <= passed <= trials:
        raise UserError(f"a share of {passed} of {trials} is not defined", "count at least one trial, each once")
    bounds = binomtest(passed, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(bounds.low), passed / trials, float(bounds.high))


def t_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Student's t interval for the mean of independent runs, such as one per seed.

    Raises:
        shammie.errors.UserError: there are fewer than two values.
    """
    from scipy.special import stdtrit

    if len(values) < 2:
        raise UserError(f"an interval over {len(values)} runs is not defined", "run at least two seeds")
    mean = float(np.mean(values))
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Interval(mean - half, mean, mean + half)


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The difference of two means, second - first, over the same problems: the percentile bootstrap over problems.

    Args:
        first: a value of each problem, such as whether it passed.
        second: another of each, in the same order.
        seed: of the resamples; the same seed gives the same interval.
        resamples: how many.
        confidence: of the interval.

    Raises:
        shammie.errors.UserError: the lengths differ, or there is no problem.
    """
    if not len(first) or len(first) != len(second):
        raise UserError(f"{len(first)} and {len(second)} values are no pairs", "give one of each for every problem")
    differences_N = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    generator, problems = np.random.default_rng(seed), len(differences_N)
    means, at_once = [], max(1, _AT_ONCE // problems)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        means.append(differences_N[generator.integers(0, problems, (rows, problems))].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(differences_N.mean()), float(high))


def bucket_of(base_pass_rate: float) -> Bucket:
    """How hard a problem is by the base model's pass rate; an edge belongs to the easier side, so 0.75 is easy.

    Raises:
        shammie.errors.UserError: the rate is not in 0 to 1.
    """
    if not 0 <= base_pass_rate <= 1:
        raise UserError(f"a pass rate of {base_pass_rate} is not in 0 to 1", "give a share, not percent")
    return next(bucket for bucket, least in LEAST_RATES.items() if base_pass_rate >= least)


def by_bucket(base_pass_rates: Mapping[str, float], values: Mapping[str, float]) -> dict[Bucket, list[float]]:
    """Values of problems, such as pass@1 after an iteration, by the bucket of each; in the order of the problems' ids.

    Args:
        base_pass_rates: of the base model, by problem.
        values: by problem.

    Returns:
        All four buckets, from easy to very hard; one may be empty.

    Raises:
        shammie.errors.UserError: a problem has no base pass rate.
    """
    found: dict[Bucket, list[float]] = {bucket: [] for bucket in LEAST_RATES}
    for problem in sorted(values):
        if problem not in base_pass_rates:
            raise UserError(f"problem {problem!r} has no base pass rate", "sample it from the base model as well")
        found[bucket_of(base_pass_rates[problem])].append(values[problem])
    return found
