"""What the optimizer benchmark's curves say: who ends lower, and how many of Adam's steps that is worth.

R = learning rates, S = seeds, P = points.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from models.learned_optimizers.speedup import SMOOTHING, Envelope, envelope, mean_curve, speedup
from models.learned_optimizers.suite import ADAM, Kinship, kinship
from models.rest_em.metrics import Interval, t_interval
from workflows.optimizer_suite import Suite

LAST_SHARE = 10  # a final loss is the mean over the last 1/10 of the points
KINSHIPS: Mapping[str, tuple[Kinship, ...]] = {
    "trained_on": ("trained on",),
    "other_size": ("other size",),
    "other_family": ("other family",),
    "held_out": ("other size", "other family"),
}


class Contest(NamedTuple):
    """A learned optimizer beside Adam of the best learning rate, on a task.

    Attributes:
        difference: Adam's final loss minus its own, paired over seeds, in the task's own loss; above 0 it is better.
        beats: whether its mean final loss is lower.
        clearly: whether the 95 % interval of the difference lies above 0 (1), below (-1), or holds it (0).
    """

    difference: Interval
    beats: bool
    clearly: int


@dataclass(frozen=True)
class SuiteCurves:
    """All curves of a run.

    Attributes:
        suite: its size.
        losses_RSP: by (task, optimizer's name); R is 1 for learned ones, and Adam's curves are longer. NaN where a cell
            failed.
        learned: the learned optimizers' names.
        kinships: by (task, learned optimizer's name).
    """

    suite: Suite
    losses_RSP: Mapping[tuple[str, str], np.ndarray]
    learned: Sequence[str]
    kinships: Mapping[tuple[str, str], Kinship]

    @property
    def optimizers(self) -> list[str]:
        """All names, learned ones first."""
        return [*self.learned, *self.suite.rates]

    @property
    def points(self) -> int:
        """Points of a curve of `suite.steps`."""
        return self.suite.steps // self.suite.every

    def steps_P(self, points: int) -> np.ndarray:
        """After how many steps each point is."""
        return self.suite.every * np.arange(1, points + 1)

    def finals_RS(self, task: str, optimizer: str) -> np.ndarray:
        """Final losses after `suite.steps`; infinite where a training diverged."""
        losses_RSP = self.losses_RSP[task, optimizer][..., : self.points]
        finals = losses_RSP[..., -max(1, self.points // LAST_SHARE) :].mean(axis=-1)
        return np.where(np.isfinite(finals), finals, np.inf)

    def best_rate(self, task: str, optimizer: str) -> int:
        """The place of the learning rate whose mean final loss is the lowest."""
        return int(np.argmin(self.finals_RS(task, optimizer).mean(axis=1)))

    def finals_S(self, task: str, optimizer: str) -> np.ndarray:
        """Final losses at the best learning rate."""
        return self.finals_RS(task, optimizer)[self.best_rate(task, optimizer)]

    def curve_SP(self, task: str, optimizer: str) -> np.ndarray:
        """Curves at the best learning rate, `suite.steps` long."""
        return self.losses_RSP[task, optimizer][self.best_rate(task, optimizer), :, : self.points]

    def adam(self, task: str) -> Envelope:
        """The lower envelope of Adam's sweep, of `adam_factor` times as many steps."""
        losses_RSP = self.losses_RSP[task, ADAM]
        return envelope(self.steps_P(losses_RSP.shape[-1]), losses_RSP)

    def speedup(self, task: str, optimizer: str) -> float:
        """VeLO's score at the best learning rate: the loss is smoothed as Adam's are, so that both lag alike."""
        curve_SP = self.curve_SP(task, optimizer)
        return float(speedup(self.adam(task), mean_curve(curve_SP, SMOOTHING)[-1], self.suite.steps))

    def at_least(self, task: str, optimizer: str) -> bool:
        """Whether Adam never came to its loss, so that the speedup is only a bound."""
        return self.speedup(task, optimizer) >= self.suite.adam_factor * (1 - 1e-9)

    def contest(self, task: str, optimizer: str, against: str = ADAM) -> Contest:
        """An optimizer beside another one, each at its best learning rate."""
        own_S, other_S = self.finals_S(task, optimizer), self.finals_S(task, against)
        beats = bool(own_S.mean() < other_S.mean())
        differences_S = other_S - own_S
        if not np.isfinite(differences_S).all():
            return Contest(Interval(np.nan, np.nan, np.nan), beats, 0)
        mean = float(differences_S.mean())
        found = t_interval(differences_S.tolist()) if len(differences_S) > 1 else Interval(mean, mean, mean)
        several = len(differences_S) > 1
        return Contest(found, beats, (int(found.low > 0) - int(found.high < 0)) if several else 0)

    def tasks_of(self, optimizer: str, *kinships: Kinship) -> list[str]:
        """The tasks that are so near to what a learned optimizer was trained on; all if none is named."""
        return [task for task in self.suite.tasks if not kinships or self.kinships.get((task, optimizer)) in kinships]

    def wins(self, optimizer: str, against: str = ADAM, *kinships: Kinship) -> tuple[int, int]:
        """On how many tasks an optimizer's mean final loss is lower, of how many."""
        tasks = self.tasks_of(optimizer, *kinships)
        return sum(self.contest(task, optimizer, against).beats for task in tasks), len(tasks)


def suite_curves(
    suite: Suite, baselines: pa.Table, learned: Mapping[str, tuple[pa.Table, Mapping[str, Any]]]
) -> SuiteCurves:
    """The curves of a run from its cells.

    Args:
        suite: its size.
        baselines: `workflows.sweep.read_table` of the baselines.
        learned: name -> the table of its cells, and its weights.json.
    """
    found: dict[tuple[Any, ...], list[float]] = {}
    for row in baselines.to_pylist():
        config = json.loads(row["config"])
        place = config["task"], config["optimizer"], config["learning_rate"], config["seed"]
        found[place] = row["losses"]
    losses: dict[tuple[str, str], np.ndarray] = {}
    for task in suite.tasks:
        for optimizer, rates in suite.rates.items():
            points = suite.steps // suite.every * (suite.adam_factor if optimizer == ADAM else 1)
            missing = [np.nan] * points
            losses[task, optimizer] = np.array(
                [[found.get((task, optimizer, float(r), s), missing) for s in suite.seeds] for r in rates]
            )
    kinships: dict[tuple[str, str], Kinship] = {}
    for name, (table, about) in learned.items():
        rows = [(json.loads(row["config"]), row["losses"]) for row in table.to_pylist()]
        own = {(config["task"], config["seed"]): curve for config, curve in rows}
        missing = [np.nan] * (suite.steps // suite.every)
        for task in suite.tasks:
            losses[task, name] = np.array([[own.get((task, seed), missing) for seed in suite.seeds]])
            kinships[task, name] = kinship(task, trained_on(about.get("made_with", {})))
    return SuiteCurves(suite, losses, list(learned), kinships)


def trained_on(made_with: Mapping[str, Any]) -> list[tuple[str, Any]] | None:
    """The (family, sizes) of the tasks of a meta-training, from what its weights say they were made with.

    None where they do not say: released weights saw families of tasks that are here too, of other data.
    """
    if "meta_training" not in made_with:
        return None
    phases = made_with["meta_training"]["phases"]
    return [(task["name"], task["config"]) for phase in phases for task in phase["tasks"]]


def curves_table(curves: SuiteCurves) -> pa.Table:
    """All curves for publication: a row for each training, without paths."""
    rows = []
    for (task, optimizer), losses_RSP in curves.losses_RSP.items():
        rates = curves.suite.rates.get(optimizer, [None])
        for rate, losses_SP in zip(rates, losses_RSP, strict=True):
            for seed, losses_P in zip(curves.suite.seeds, losses_SP, strict=True):
                rows.append((task, optimizer, rate, seed, curves.suite.every, losses_P.astype(np.float32)))
    columns = ("task", "optimizer", "learning_rate", "seed", "every", "losses")
    types = (pa.string(), pa.string(), pa.float64(), pa.int64(), pa.int64(), pa.list_(pa.float32()))
    values = zip(*rows, strict=True)
    return pa.table({name: pa.array(list(v), t) for name, t, v in zip(columns, types, values, strict=True)})


def wins_by_kinship(curves: SuiteCurves, key: str, optimizer: str, against: str) -> dict[str, int]:
    """KEY and KEY_of, the tasks on which an optimizer ends lower and of how many, and those by kinship where any is."""
    wins, count = curves.wins(optimizer, against)
    out = {key: wins, f"{key}_of": count}
    for word, kinships in KINSHIPS.items():
        wins, count = curves.wins(optimizer, against, *kinships)
        if count:
            out |= {f"{key}_{word}": wins, f"{key}_{word}_of": count}
    return out


def suite_results(curves: SuiteCurves) -> dict[str, Any]:
    """The suite's part of a flat result; what is not finite is left out.

    - NAME_beats_adam_tasks, NAME_beats_adam_tasks_trained_on, ..._other_size, ..._other_family, and both of these
      together, ..._held_out, each with ..._of: on how many tasks a learned optimizer's mean final loss is below that of
      the best learning rate of Adam, of how many.
    - NAME_clearly_beats_adam_tasks, NAME_clearly_behind_adam_tasks: where the 95 % interval over seeds says so.
    - NAME_TASK_final_loss, ..._adam_minus_own (with _low, _high), NAME_TASK_speedup: steps of tuned Adam to the loss
      that it has after the suite's steps, over those; a bound where it is the suite's adam_factor.
    - NAME_median_speedup, NAME_speedup_2_share: over tasks; the share of tasks with a speedup of at least 2.
    """
    out: dict[str, Any] = {}
    for name in curves.learned:
        out |= wins_by_kinship(curves, f"{name}_beats_adam_tasks", name, ADAM)
        contests = [curves.contest(task, name) for task in curves.suite.tasks]
        out[f"{name}_clearly_beats_adam_tasks"] = sum(one.clearly > 0 for one in contests)
        out[f"{name}_clearly_behind_adam_tasks"] = sum(one.clearly < 0 for one in contests)
    for name in curves.optimizers:
        speedups = [curves.speedup(task, name) for task in curves.suite.tasks]
        out[f"{name}_median_speedup"] = float(np.median(speedups))
        out[f"{name}_speedup_2_share"] = float(np.mean(np.array(speedups) >= 2))
    for task in curves.suite.tasks:
        for name in curves.optimizers:
            out[f"{name}_{task}_final_loss"] = float(curves.finals_S(task, name).mean())
            out[f"{name}_{task}_speedup"] = curves.speedup(task, name)
            if name != ADAM:
                found = curves.contest(task, name).difference
                key = f"{name}_{task}_adam_minus_own"
                out |= {key: found.mean, f"{key}_low": found.low, f"{key}_high": found.high}
            if name in curves.suite.rates:
                out[f"{name}_{task}_best_learning_rate"] = curves.suite.rates[name][curves.best_rate(task, name)]
    return {name: value for name, value in out.items() if np.isfinite(value)}
