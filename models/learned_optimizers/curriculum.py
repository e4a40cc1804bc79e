"""What meta-training goes through: phases of tasks and lengths, each with its estimator (arXiv:2211.09760)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from models.evolution import EvolutionConfig, full_es, nres, pes, truncated_es
from models.evolution.estimator import Estimator
from models.learned_optimizers.inner_training import InnerConfig, inner_training
from models.learned_optimizers.interface import Key, LearnedOptimizer
from models.learned_optimizers.task_mixture import mixture, repeated
from models.learned_optimizers.tasks import NO_AUGMENTATION, TASKS, AugmentationConfig, Task, augmented, choose
from shammie.errors import UserError, unknown

ESTIMATORS = {"nres": nres, "pes": pes, "full_es": full_es, "truncated_es": truncated_es}


@dataclass(frozen=True)
class TaskChoice:
    """A family of tasks.

    Attributes:
        name: of `tasks.TASKS`.
        config: its sizes, such as an `ImageTaskConfig`; None for the default ones.
    """

    name: str
    config: Any = None

    def __post_init__(self) -> None:
        if self.name not in TASKS:
            raise unknown("task", self.name, TASKS)

    def task(self) -> Task:
        """The task."""
        return TASKS[self.name]() if self.config is None else TASKS[self.name](self.config)


@dataclass(frozen=True)
class Phase:
    """A part of meta-training; workers begin anew in each.

    Attributes:
        tasks: families; an iteration's gradient is the mean over all of them.
        iterations: updates of theta.
        estimator: "nres", "pes", "truncated_es" or "full_es".
        particles: antithetic pairs of trainings for each family.
        window: steps of every training in one estimate; full ES makes whole trainings.
        sigma: standard deviation of theta's perturbations.
        sign: use only the sign of a pair's loss difference, as VeLO did.
        shortest: the least steps of a training; lengths are log-uniform between the two, drawn for each training.
        longest: the most; both the same: all trainings have this length.
        lengths: for full ES only: where above 0, all of an iteration's trainings have the same length, one of this many
            between the two, evenly in the logarithm; each is compiled for itself, and none waits for longer ones.
        inner: what counts as a training's loss.
        augmentation: probabilities of what happens to tasks.
        resample_every: iterations after which each family's augmentation is drawn anew, and workers with it (and a
            program compiled); 0: once a phase.
        accumulate: estimates that an iteration's gradient is the mean of.
    """

    tasks: Sequence[TaskChoice] = (TaskChoice("image_mlp"),)
    iterations: int = 1000
    estimator: Literal["nres", "pes", "full_es", "truncated_es"] = "nres"
    particles: int = 8
    window: int = 20
    sigma: float = 0.01
    sign: bool = False
    shortest: int = 200
    longest: int = 200
    lengths: int = 0
    inner: InnerConfig = field(default_factory=InnerConfig)
    augmentation: AugmentationConfig = NO_AUGMENTATION
    resample_every: int = 0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UserError("Phase.tasks is empty", "name at least one family")
        if self.estimator not in ESTIMATORS:
            raise unknown("estimator", self.estimator, ESTIMATORS)
        whole = {"iterations": 1, "accumulate": 1, "lengths": 0, "resample_every": 0, "shortest": 1, "longest": 1}
        for name, least in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"Phase.{name} is {value!r}", f"give a whole number of at least {least}")
        if self.shortest > self.longest:
            raise UserError(
                f"Phase.shortest is {self.shortest} and Phase.longest {self.longest}", "give the smaller first"
            )
        if self.lengths and self.estimator != "full_es":
            raise UserError(
                f"Phase.lengths is {self.lengths} with {self.estimator}",
                "leave it out: each training draws its own length; only full ES has one for all",
            )
        self._evolution(self.longest, drawn=self.drawn).check_horizon(self.longest)

    @property
    def drawn(self) -> bool:
        """Whether each training draws its own length."""
        return self.shortest < self.longest and not self.lengths

    def horizons(self) -> list[int]:
        """The lengths that programs are compiled for: one, or those that iterations draw from."""
        if not self.lengths:
            return [self.longest]
        return [round(length) for length in np.geomspace(self.shortest, self.longest, self.lengths)]

    def segments(self) -> list[int]:
        """Iterations between two drawings of augmentations."""
        every = self.resample_every or self.iterations
        whole, rest = divmod(self.iterations, every)
        return [every] * whole + [rest] * bool(rest)

    def burn_in(self) -> int:
        """Iterations before the first update, after which every worker's state is one that theta led to."""
        return 0 if self.estimator == "full_es" else -(-self.longest // (self.window * self.accumulate))

    def steps_per_iteration(self) -> float:
        """Expected steps of trainings in one iteration, burn-in left out."""
        of_pair = 3 if self.estimator == "truncated_es" else 2
        length = float(np.mean(self.horizons())) if self.estimator == "full_es" else self.window
        if self.estimator == "full_es" and self.drawn:  # the mean of a log-uniform number
            length = (self.longest - self.shortest) / np.log(self.longest / self.shortest)
        return of_pair * self.particles * len(self.tasks) * self.accumulate * length

    def tasks_of(self, key: Key) -> list[Task]:
        """Each family's task under the augmentation that a key draws."""
        tasks = [one.task() for one in self.tasks]
        if self.augmentation == NO_AUGMENTATION:
            return tasks
        keys = jax.random.split(key, len(tasks))
        return [augmented(task, choose(self.augmentation, one)) for task, one in zip(tasks, keys, strict=True)]

    def estimator_of(self, optimizer: LearnedOptimizer, tasks: Sequence[Task], horizon: int) -> Estimator:
        """The estimator of an iteration's gradient.

        Args:
            optimizer: the rule that is meta-trained.
            tasks: one for each family.
            horizon: one of `horizons`.
        """
        config = self._evolution(horizon, drawn=self.drawn)
        members = [
            ESTIMATORS[self.estimator](inner_training(optimizer, task, horizon, self.inner, drawn=self.drawn), config)
            for task in tasks
        ]
        return repeated(mixture(members), self.accumulate)

    def _evolution(self, horizon: int, *, drawn: bool) -> EvolutionConfig:
        return EvolutionConfig(
            particles=self.particles,
            window=horizon if self.estimator == "full_es" else self.window,
            sigma=self.sigma,
            horizon_sampling="log_uniform" if drawn else "fixed",
            shortest_horizon=self.shortest if drawn else 1,
            sign=self.sign,
            burn_in=0,  # meta-training does it itself (`burn_in`)
        )


@dataclass(frozen=True)
class MetaTrainingConfig:
    """A whole meta-training. Its optimizer is Adam, with decay of theta that is not scaled (AdamW).

    Attributes:
        phases: one after the other; theta and Adam's averages go on through all.
        learning_rate: of Adam, after a linear warm-up.
        warmup: iterations of it.
        final_share: what a cosine brings the learning rate down to by the last iteration, as a share of it; 1 leaves
            it.
        theta_decay: how much of theta is taken away in each iteration, times the learning rate: STAR's heavy weight
            decay (arXiv:2209.11208).
        clip_norm: the most that the gradient's norm may be; 0 for no bound.
        clip_value: the most that each of the gradient's numbers may be, before that; 0 for no bound.
        last_layer_scale: what the first theta's last layer is times; 0 makes STAR begin as its nominal optimizer.
        stretch: iterations that the curve has one point for, and that run without looking up; burn-in is in whole ones.
            One that divides every phase's iterations spares compiling a program for the rest.
        seed: of everything that is drawn.
    """

    phases: Sequence[Phase] = (Phase(),)
    learning_rate: float = 1e-3
    warmup: int = 0
    final_share: float = 1.0
    theta_decay: float = 0.0
    clip_norm: float = 1.0
    clip_value: float = 0.0
    last_layer_scale: float = 1.0
    stretch: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.phases:
            raise UserError("MetaTrainingConfig.phases is empty", "give at least one")
        for name in ("warmup", "final_share", "theta_decay", "clip_norm", "clip_value", "last_layer_scale"):
            if not getattr(self, name) >= 0:
                raise UserError(f"MetaTrainingConfig.{name} is {getattr(self, name)}", "give 0 or more")
        if not self.learning_rate > 0:
            raise UserError(f"MetaTrainingConfig.learning_rate is {self.learning_rate}", "give a number above 0")
        if self.stretch < 1:
            raise UserError(f"MetaTrainingConfig.stretch is {self.stretch}", "give at least 1")

    @property
    def iterations(self) -> int:
        """Updates of theta in all phases."""
        return sum(phase.iterations for phase in self.phases)
