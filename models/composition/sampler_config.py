"""How points are drawn from a sequence of densities: which sampler, its step sizes, and at which levels it runs."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError, unknown

REVERSE_KINDS = ("reverse", "ddim")
LANGEVIN_KINDS = ("ula", "mala")
HAMILTONIAN_KINDS = ("uhmc", "hmc")
TESTED_KINDS = ("mala", "hmc")  # that have a Metropolis test, and so need energies
KINDS = (*REVERSE_KINDS, *LANGEVIN_KINDS, *HAMILTONIAN_KINDS)
SCALINGS = ("constant", "beta", "noise", "noise_variance")
VARIANCES = ("posterior", "beta")


@dataclass(frozen=True)
class SamplerConfig:
    """A sampler that goes down the noise levels, from T - 1 to 0 (arXiv:2302.11552 section 5 and its algorithm 1).

    Attributes:
        kind: "reverse": ancestral sampling, one step down a level, which is wrong for compositions; "ddim": likewise,
            Song et al. 2021; kernels that stay at a level: "ula" and "mala", Langevin without and with a Metropolis
            test; "uhmc" and "hmc", Hamiltonian, likewise.
        step_size: eps of the kernels. Langevin: x + eps score + sqrt(2 eps) z; Hamiltonian: of a leapfrog step.
        scaling: what it is times at each level: 1, beta, the noise sqrt(1 - abar), or its square.
        steps: of the kernel at each level.
        leapfrog_steps: of each Hamiltonian step.
        damping: c: a Hamiltonian step begins with momentum c v + sqrt((1 - c^2) mass) z; 0 is plain HMC.
        mass: of every axis.
        lowest_level: where kernels run, 0 or more. Above 0 without `reverse_between`, points keep that level's noise.
        highest_level: likewise; None for T - 1.
        reverse_between: whether a reverse step (of `variance`) leads from each level to the one below. It also covers
            the levels at which no kernel runs; below `lowest_level` it goes on to the clean point.
        final_steps: more steps of the kernel at the lowest level.
        target_acceptance: None keeps the step sizes as given; else each level's is adapted until the Metropolis test
            accepts this share, from the step size that the level above ended with, and then frozen.
        adapt_steps: steps of the kernel that this takes at each level, ten times as many at the first; they move the
            points, but are none of the level's `steps`.
        variance: of the reverse step's noise: "posterior" or "beta" (Ho et al. 2020, section 3.2).
        eta: of DDIM's noise, 0 for none.
        bound: keeps the reverse step's guess of the clean point within -bound to bound, as one does for images; None
            leaves it as it is.
        weighted: whether chains get the weights of annealed importance sampling, which make up for levels at which
            they had too few steps (Neal 2001).
        resample: chains are drawn anew by these weights where their effective number falls below this share of them;
            None never does.

    Raises:
        UserError: a value outside its range, or settings that exclude each other.
    """

    kind: Literal["reverse", "ddim", "ula", "mala", "uhmc", "hmc"] = "hmc"
    step_size: float = 0.03
    scaling: Literal["constant", "beta", "noise", "noise_variance"] = "constant"
    steps: int = 10
    leapfrog_steps: int = 3
    damping: float = 0.5
    mass: float = 1.0
    lowest_level: int = 0
    highest_level: int | None = None
    reverse_between: bool = False
    final_steps: int = 0
    target_acceptance: float | None = None
    adapt_steps: int = 5
    variance: Literal["posterior", "beta"] = "posterior"
    eta: float = 0.0
    bound: float | None = None
    weighted: bool = False
    resample: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("sampler", self.kind, KINDS),
            ("scaling of step sizes", self.scaling, SCALINGS),
            ("variance of the reverse step", self.variance, VARIANCES),
        ):
            if value not in known:
                raise unknown(name, value, known)
        for name in ("step_size", "mass"):
            self._check(name, 0 < getattr(self, name) < math.inf, "a number above 0")
        for name, least in (("steps", 1), ("leapfrog_steps", 1), ("adapt_steps", 1), ("final_steps", 0)):
            self._check(name, _whole(getattr(self, name), least), f"a whole number of {least} or more")
        self._check("damping", 0 <= self.damping < 1, "0 to less than 1")
        self._check("lowest_level", _whole(self.lowest_level, 0), "a whole number of 0 or more")
        highest = self.highest_level
        fits = highest is None or _whole(highest, self.lowest_level)
        self._check("highest_level", fits, f"None, or a whole number of lowest_level = {self.lowest_level} or more")
        self._check("eta", 0 <= self.eta <= 1, "0 to 1")
        self._check("bound", self.bound is None or self.bound > 0, "None or a number above 0")
        target, resample = self.target_acceptance, self.resample
        self._check("target_acceptance", target is None or 0 < target < 1, "None or a number between 0 and 1")
        self._check("resample", resample is None or 0 < resample <= 1, "None, or a share above 0 and at most 1")
        self._check_together()

    def _check(self, name: str, fits: bool, cure: str) -> None:
        if not fits:
            raise UserError(f"SamplerConfig.{name} is {getattr(self, name)!r}", f"give {cure}")

    def _check_together(self) -> None:
        if self.target_acceptance is not None and not self.tested:
            raise UserError(
                f"{self.kind!r} has no Metropolis test whose acceptance could be {self.target_acceptance}",
                "leave target_acceptance out, or sample by 'mala' or 'hmc'",
            )
        if self.resample is not None and not self.weighted:
            raise UserError("chains are resampled by weights, and weighted is False", "set weighted to True")
        if self.weighted and (self.is_reverse or self.reverse_between):
            raise UserError(
                "weights are of kernels that keep each level's density; a reverse step keeps none, and its weight is"
                " not known",
                "set reverse_between to False and choose a kernel, or weighted to False",
            )
        if self.weighted and not self.tested:
            raise UserError(
                f"weights are of kernels that keep each level's density exactly; {self.kind!r} does not",
                "sample by 'mala' or 'hmc', or set weighted to False",
            )
        if self.is_reverse and self.reverse_between:
            raise UserError(f"{self.kind!r} is the reverse step already", "leave reverse_between out")

    @property
    def is_reverse(self) -> bool:
        """Whether there is no kernel, only reverse steps."""
        return self.kind in REVERSE_KINDS

    @property
    def tested(self) -> bool:
        """Whether steps are accepted or rejected, which needs energies."""
        return self.kind in TESTED_KINDS

    def levels(self, schedule: NoiseSchedule) -> np.ndarray:
        """The levels that are gone through, from the noisiest on; int32.

        Raises:
            UserError: the schedule has no such levels.
        """
        highest = schedule.levels - 1 if self.highest_level is None else self.highest_level
        if not self.lowest_level <= highest < schedule.levels:
            raise UserError(
                f"the sampler's kernel runs at levels {self.lowest_level} to {highest}, and the schedule has 0 to"
                f" {schedule.levels - 1}",
                "change lowest_level or highest_level",
            )
        if self.is_reverse or self.reverse_between:
            return np.arange(schedule.levels, dtype=np.int32)[::-1]
        return np.arange(self.lowest_level, highest + 1, dtype=np.int32)[::-1]

    def steps_at(self, schedule: NoiseSchedule) -> np.ndarray:
        """How many steps the kernel has at each of `levels`; int32."""
        levels = self.levels(schedule)
        if self.is_reverse:
            return np.zeros_like(levels)
        highest = schedule.levels - 1 if self.highest_level is None else self.highest_level
        within = (levels >= self.lowest_level) & (levels <= highest)
        return (within * self.steps + (levels == self.lowest_level) * self.final_steps).astype(np.int32)

    def step_sizes(self, schedule: NoiseSchedule) -> np.ndarray:
        """The step size at every level before any adaptation, float64 [T]."""
        scales = {
            "constant": np.ones(schedule.levels),
            "beta": schedule.betas_T,
            "noise": np.sqrt(schedule.noise_variances_T),
            "noise_variance": schedule.noise_variances_T,
        }
        return self.step_size * scales[self.scaling]

    def evaluations(self, schedule: NoiseSchedule) -> int:
        """How often a chain asks for a score, adaptation included: the sampler's cost."""
        levels, steps = self.levels(schedule), self.steps_at(schedule)
        if self.target_acceptance is not None:
            steps = steps + adaptation_steps(self, steps)
        each = self.leapfrog_steps if self.kind in HAMILTONIAN_KINDS else 1
        return int(len(levels) + each * steps.sum())


def adaptation_steps(config: SamplerConfig, steps: np.ndarray) -> np.ndarray:
    """How many steps adapt the step size at each level, given those that follow: none where there are none; int32."""
    within = steps > 0
    first = np.cumsum(within) == 1
    return (within * config.adapt_steps * np.where(first, 10, 1)).astype(np.int32)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
