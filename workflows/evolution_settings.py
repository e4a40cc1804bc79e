"""What gin files choose of `evolution`: the comparisons of estimators, and the moments that are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from models.evolution.learning import ESTIMATORS, Learning
from models.evolution.moments import Moments
from models.evolution.problems import horizon_of
from shammie import files
from shammie.errors import UserError, unknown

LORENZ_PAPER: Mapping[str, Mapping[str, Any]] = {
    "full_es": {"learning_rate": 3e-5, "particles": 10, "iterations": 2000},
    "truncated_es": {"learning_rate": 3e-4, "iterations": 5000},
    "pes": {"learning_rate": 1e-5, "drop_at": 1000, "iterations": 10000},
    "nres": {"learning_rate": 1e-5, "iterations": 5000},
    "backprop": {"learning_rate": 1e-8, "particles": 1, "iterations": 2000},
    "truncated_backprop": {"learning_rate": 3e-4, "iterations": 5000},
    "uoro": {"learning_rate": 1e-13, "iterations": 5000},
    "dodge": {"learning_rate": 1e-10, "iterations": 5000},
}
"""The rates of arXiv:2304.12180 on Lorenz; iterations of methods that differentiate are ours."""


def _word(kind: str, name: str) -> None:
    if not name.isidentifier():
        raise UserError(f"{kind}.name is {name!r}", "give one word: it is part of file names and of result.json's keys")


@dataclass(frozen=True)
class Comparison:
    """Estimators that learn one problem.

    Attributes:
        name: one word.
        title: of the report's section.
        problem: one of `models.evolution.problems.PROBLEMS`.
        options: of the problem.
        model_file: of problem "physics": an MJCF file, read into the option "model"; "" for its own.
        arms: by estimator, what is special to it: any setting of `models.evolution.learning.Learning`. An estimator may
            come again with another K: "gpes_400" is GPES with reuse 400.
        shared: settings of all arms.
        seeds: each arm learns once from each.
        unit: of the losses.
        reward: whether curves show 1 minus the loss.
    """

    name: str = "lorenz"
    title: str = "Lorenz"
    problem: str = "lorenz"
    options: Mapping[str, Any] = field(default_factory=dict)
    model_file: str = ""
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: LORENZ_PAPER)
    shared: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] = (101, 103, 107)
    unit: str = "squared distance of z"
    reward: bool = False

    def __post_init__(self) -> None:
        _word("Comparison", self.name)
        if not self.arms:
            raise UserError(f"Comparison.arms of {self.name} is empty", f"give some of {', '.join(ESTIMATORS)}")
        if not self.seeds or len({*self.seeds}) < len(self.seeds) or any(int(one) != one for one in self.seeds):
            raise UserError(
                f"Comparison.seeds of {self.name} are {list(self.seeds)}", "give whole numbers, at least one, each once"
            )
        for arm in self.arms:
            self.run(arm, self.seeds[0])

    def run(self, arm: str, seed: int) -> Learning:
        """One run of an arm."""
        known = [one.name for one in fields(Learning)]
        given = {**self.shared, **self.arms[arm]}
        for setting in given:
            if setting not in known:
                raise unknown(f"setting of {self.name}'s arm {arm}", setting, known)
        estimator, reuse = _estimator(arm)
        given = {"estimator": estimator, **({"reuse": reuse} if reuse else {}), **given}
        return Learning(problem=self.problem, options=self._options(), seed=int(seed), **given)

    def _options(self) -> dict[str, Any]:
        """The problem's options; a file's text is among them, not its path: cells are the same wherever it lies."""
        if not self.model_file:
            return dict(self.options)
        try:
            return {**self.options, "model": files.read_bytes(self.model_file).decode()}
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"model_file of {self.name}, {self.model_file}, cannot be read: {type(error).__name__}",
                "give a file of MJCF text",
            ) from error

    def configs(self) -> list[dict[str, Any]]:
        """Every cell's config; the seeds of an arm after each other."""
        return [self.run(arm, seed).to_json() for arm in self.arms for seed in self.seeds]


def _estimator(arm: str) -> tuple[str, int]:
    """The estimator that an arm's name begins with, and K where it says one."""
    if arm in ESTIMATORS:
        return arm, 0
    head, _, tail = arm.rpartition("_")
    if head == "gpes" and tail.isdigit():
        return head, int(tail)
    raise unknown("estimator", arm, (*ESTIMATORS, "gpes_K"))


@dataclass(frozen=True)
class Variance:
    """The variance of GPES_K against K, at the parameters that learning starts from.

    Attributes:
        name: one word.
        title: of its picture.
        problem: one of `models.evolution.problems.PROBLEMS`.
        options: of the problem.
        reuses: K, rising; the last is at least the horizon: NRES.
        window: W, steps; it divides the horizon, and each K below the horizon.
        sigma: standard deviation of perturbations.
        episodes: independent ones that each K is measured on.
        seed: of them.
        closed: whether to draw the closed form beside: exact where losses are linear, else that of the losses'
            derivatives. It needs W = 1 and T^2 numbers.
    """

    name: str = "linear"
    title: str = "a problem with linear losses"
    problem: str = "linear"
    options: Mapping[str, Any] = field(default_factory=dict)
    reuses: Sequence[int] = (1, 2, 3, 6)
    window: int = 1
    sigma: float = 0.7
    episodes: int = 200_000
    seed: int = 0
    closed: bool = True

    def __post_init__(self) -> None:
        _word("Variance", self.name)
        if not self.reuses or list(self.reuses) != sorted({*self.reuses}):
            raise UserError(f"Variance.reuses of {self.name} are {list(self.reuses)}", "give each K once, rising")
        if self.closed and self.window != 1:
            raise UserError(
                f"Variance.closed of {self.name} with windows of {self.window}", "the form is for windows of 1"
            )
        for reuse in self.reuses:
            self.moments(reuse)

    def moments(self, reuse: int) -> Moments:
        """What is measured for one K."""
        return Moments(
            self.problem, dict(self.options), "gpes", int(reuse), self.window, self.sigma, self.episodes, self.seed
        )

    def configs(self) -> list[dict[str, Any]]:
        """Every cell's config, K rising; then full ES, for scale."""
        full = replace(self.moments(self.reuses[-1]), estimator="full_es", reuse=0)
        return [self.moments(reuse).to_json() for reuse in self.reuses] + [full.to_json()]

    @property
    def horizon(self) -> int:
        """T."""
        return horizon_of(self.problem, self.options)


@dataclass(frozen=True)
class Bias:
    """Mean estimates on noisy quadratics, beside the exact gradient of the smoothed objective.

    Attributes:
        name: one word.
        log_rates: ln of the step size at which the gradient is estimated.
        options: of the problem "quadratic".
        estimators: some of `models.evolution.learning.ESTIMATORS`.
        window: W, steps; it divides the horizon.
        sigma: standard deviation of perturbations.
        episodes: independent ones that each mean is of.
        seed: of them.
    """

    name: str = "quadratic"
    log_rates: Sequence[float] = (-4.0, -3.0, -2.0, -1.0)
    options: Mapping[str, Any] = field(default_factory=dict)
    estimators: Sequence[str] = ("truncated_es", "pes", "nres")
    window: int = 10
    sigma: float = 0.1
    episodes: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        _word("Bias", self.name)
        for one in ("log_rates", "estimators"):
            if not getattr(self, one):
                raise UserError(f"Bias.{one} of {self.name} is empty", "give at least one")
        self.configs()

    def moments(self, estimator: str, log_rate: float) -> Moments:
        """What is measured at one place."""
        options = {**self.options, "first_log_rate": float(log_rate)}
        return Moments("quadratic", options, estimator, 0, self.window, self.sigma, self.episodes, self.seed)

    def configs(self) -> list[dict[str, Any]]:
        """Every cell's config."""
        return [self.moments(name, rate).to_json() for name in self.estimators for rate in self.log_rates]


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        comparisons: of estimators that learn.
        variances: of GPES_K against K.
        biases: of mean estimates.
        max_bad_share: the share of cells of a step that may fail.
    """

    comparisons: Sequence[Comparison] = (Comparison(),)
    variances: Sequence[Variance] = (Variance(),)
    biases: Sequence[Bias] = (Bias(),)
    max_bad_share: float = 0.0

    def __post_init__(self) -> None:
        if not (self.comparisons or self.variances or self.biases):
            raise UserError("evolution.Settings names nothing to run", "give comparisons, variances or biases")
        for kind in ("comparisons", "variances", "biases"):
            names = [one.name for one in getattr(self, kind)]
            if len({*names}) < len(names):
                raise UserError(f"evolution.Settings.{kind} names one twice: {', '.join(names)}", "name each once")
