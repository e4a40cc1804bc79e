"""What is read off an `in_context` run. P = points of a meta-training, N = examples of a context."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from models.in_context.learner_config import LearnerConfig
from models.in_context.meta_training import MetaTraining, from_json
from models.in_context.objective import last_positions
from workflows.in_context_settings import SEEN, UNSEEN, Grid, Settings

Phase = Literal["diverged", "untrained", "memorises", "identifies", "generalises"]
IMPROVES = 0.2  # of accuracy from the first to the last examples: a learner that learns in context
FITS = 0.3  # above chance at the end of contexts of seen tasks: a learner that has been trained at all


@dataclass(frozen=True, eq=False)
class Found:
    """A meta-training with what it came to.

    Attributes:
        training: its settings.
        recipe: the name of its recipe.
        tasks: how many it was trained on; 0 for no end.
        losses_P: mean training loss since the point before, nats.
        accuracy: by the evaluation's name, float [P, N].
        state_size: accessible state, floats.
        parameters: how many.
    """

    training: MetaTraining
    recipe: str
    tasks: int
    losses_P: np.ndarray
    accuracy: Mapping[str, np.ndarray]
    state_size: int
    parameters: int

    def last(self, name: str) -> float:
        """Accuracy after the full context: the mean of the last tenth of the positions, at the end of training."""
        return full_context(self.accuracy[name][-1])

    def improvement(self, name: str) -> float:
        """Accuracy after the full context less that of the first example (the paper's within-sequence improvement)."""
        return self.last(name) - float(self.accuracy[name][-1, 0])

    @property
    def met(self) -> bool:
        """Whether its seen tasks are those that it met."""
        return any(one.met for one in self.training.evaluations if one.name == SEEN)

    @property
    def phase(self) -> Phase:
        """Memorises: right about seen tasks from the first example on. Identifies: improves on seen ones alone."""
        if not np.isfinite(self.losses_P).all():
            return "diverged"
        chance = 1.0 / self.training.learner.classes
        if self.improvement(UNSEEN) >= max(IMPROVES, self.improvement(SEEN) / 2):
            return "generalises"
        if self.improvement(SEEN) >= IMPROVES:
            return "identifies"
        return "memorises" if self.last(SEEN) >= chance + FITS else "untrained"

    @property
    def at_steps(self) -> np.ndarray:
        """The step of each point."""
        points = self.training.points
        return (np.arange(points) + 1) * (self.training.steps // points)

    def steps_to(self, accuracy: float, name: str = UNSEEN) -> float:
        """Steps until the full-context accuracy passes a number, between points by a straight line; inf if never."""
        curve = np.array([1.0 / self.training.learner.classes, *map(full_context, self.accuracy[name])])
        steps = np.array([0, *self.at_steps])
        above = np.flatnonzero(curve >= accuracy)
        if not len(above):
            return float("inf")
        after = int(above[0])
        share = (accuracy - curve[after - 1]) / (curve[after] - curve[after - 1])
        return float(steps[after - 1] + share * (steps[after] - steps[after - 1]))


def full_context(accuracy_N: np.ndarray) -> float:
    """The mean accuracy of the last tenth of a context's positions."""
    return float(np.mean(accuracy_N[-last_positions(len(accuracy_N)) :]))


def found_of(settings: Settings, grid: Grid, table: pa.Table) -> list[Found]:
    """A grid's meta-trainings, in its order; those that failed are left out."""
    rows = {row["config"]: row for row in table.to_pylist()}
    told = {json.dumps(_without_data(json.loads(config)), sort_keys=True): row for config, row in rows.items()}
    recipes = [
        (recipe.name, tasks)
        for _ in grid.learners
        for tasks in grid.tasks
        for recipe in grid.recipes
        for _ in grid.seeds
    ]
    out = []
    for config, (recipe, tasks) in zip(settings.configs(grid), recipes, strict=True):
        row = told.get(json.dumps(_without_data(config), sort_keys=True))
        if row is None:
            continue
        training = from_json(_without_data(config))
        names = [one.name for one in training.evaluations]
        shape = len(names), training.points, training.learner.examples
        accuracy_EPN = np.asarray(row["accuracy"]).reshape(shape)
        by_name = dict(zip(names, accuracy_EPN, strict=True))
        losses_P = np.asarray(row["losses"])
        out.append(Found(training, recipe, tasks, losses_P, by_name, row["state_size"], row["parameters"]))
    return out


def _without_data(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "data"}


def baselines_of(table: pa.Table) -> dict[tuple[str, str, int], np.ndarray]:
    """Accuracy at each position, float [N], by (baseline, evaluation, N)."""
    out = {}
    for row in table.to_pylist():
        config = json.loads(row["config"])
        key = config["baseline"], config["evaluation"]["name"], config["examples"]
        out[key] = np.asarray(row["accuracy"])
    return out


def over_seeds(found: Sequence[Found]) -> dict[tuple[LearnerConfig, int, str], list[Found]]:
    """The seeds of each (learner, tasks, recipe), in the order of their first."""
    out: dict[tuple[LearnerConfig, int, str], list[Found]] = {}
    for one in found:
        out.setdefault((one.training.learner, one.tasks, one.recipe), []).append(one)
    return out


def word(learner: LearnerConfig) -> str:
    """A learner in short: its kind, and the width or what stands for it."""
    size = {"vsml": learner.head_width, "maml": learner.mlp_width}.get(learner.kind, learner.width)
    return f"{learner.kind}_{size}"


def words_of(learners: Sequence[LearnerConfig]) -> dict[LearnerConfig, str]:
    """A word of its own for each learner: `word`, and where others have the same, all that they differ in."""
    alike: dict[str, list[LearnerConfig]] = {}
    for one in dict.fromkeys(learners):
        alike.setdefault(word(one), []).append(one)
    out = {}
    for name, group in alike.items():
        differ = [one.name for one in fields(LearnerConfig) if len({getattr(each, one.name) for each in group}) > 1]
        for one in group:
            out[one] = "_".join([name, *(_told(field, getattr(one, field)) for field in differ)])
    return {one: out[one] for one in dict.fromkeys(learners)}


def labels_of(found: Sequence[Found]) -> dict[tuple[LearnerConfig, int, str], str]:
    """What tells each row of `over_seeds` from the others, for people: of learner, tasks, recipe those that differ."""
    rows = over_seeds(found)
    words = words_of([learner for learner, _, _ in rows])
    told = [(words[learner], f"{shown_tasks(tasks)} tasks", recipe) for learner, tasks, recipe in rows]
    differ = [place for place in range(3) if len({one[place] for one in told}) > 1] or [0]
    return {row: ", ".join(one[place] for place in differ) for row, one in zip(rows, told, strict=True)}


def _told(field: str, value: object) -> str:
    if isinstance(value, bool):
        return field if value else f"not_{field}"
    return f"{field}_{value}"


def half_way(nearest_N: np.ndarray, classes: int) -> float:
    """The accuracy half way from chance to the nearest neighbour's after the full context: where a plateau ends."""
    return 0.5 * (1.0 / classes + full_context(nearest_N))


def shown_tasks(tasks: int) -> str:
    """A number of tasks for people: "1", "2^12", "3,000", or "∞" for no end."""
    if not tasks:
        return "∞"
    return f"2^{tasks.bit_length() - 1}" if tasks > 8 and tasks & (tasks - 1) == 0 else f"{tasks:,}"
