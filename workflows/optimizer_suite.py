"""The optimizer benchmark as steps: the baselines' trainings, and those of each learned optimizer.

    baselines (known from the start) ─────────────────┐
    weights, or a step that meta-trains ── suite_NAME ─┴── (the systems' reports)

All trainings are cells of the sweep engine, kept beside the steps. A freshly trained optimizer's weights are only known
when it is there: its cells are made when the step runs, and name the weights by their checksum.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from beam_jobs.learned_optimizers.cells import TRAINING, TRAINING_ADDRESS
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.store import lines_of, parquet_bytes
from models.learned_optimizers import theta_files
from models.learned_optimizers.face import SHIPPED
from models.learned_optimizers.last_layer import last_layer_scaled
from models.learned_optimizers.released import WHERE, file_of
from models.learned_optimizers.suite import ADAM, baseline, suite_task
from models.learned_optimizers.suite_training import points_of
from shammie import files
from shammie.errors import UserError
from shammie.processors import processors
from shammie.progress import duration
from workflows.dag import Running, Source, Step, source_of_files
from workflows.meta_training import Run, theta_file
from workflows.sweep import CELLS, DEAD_LETTERS, SHARED, sweep_step

ABOUT = "weights.json"
SHIPPED_WORD = "shipped"
CODE = ("models.learned_optimizers", "beam_jobs.learned_optimizers", "beam_jobs.sweep")


def decades(low: float, high: float, count: int) -> tuple[float, ...]:
    """Learning rates evenly spaced in the logarithm, from 10^low to 10^high; gin files call it."""
    gap = (high - low) / max(1, count - 1)
    return tuple(float(f"{10 ** (low + gap * number):.6g}") for number in range(count))


@dataclass(frozen=True)
class Suite:
    """The benchmark's size.

    Attributes:
        tasks: of `suite.SUITE_TASKS`.
        steps: of each training.
        every: steps from a point of a curve to the next.
        seeds: of worlds, first parameters and batches; the same for every optimizer.
        rates: baseline optimizer -> its learning rates; "adam" is among them.
        adam_factor: how much longer Adam trains: no speedup can be more.
    """

    tasks: Sequence[str] = ("mlp",)
    steps: int = 500
    every: int = 5
    seeds: Sequence[int] = (0, 1, 2)
    rates: Mapping[str, Sequence[float]] = field(default_factory=lambda: {ADAM: decades(-4, -1, 7)})
    adam_factor: int = 4

    def __post_init__(self) -> None:
        points_of(self.steps, self.every)
        for name in ("tasks", "seeds"):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise UserError(f"Suite.{name} are {values}", "name at least one, and each once")
        for task in self.tasks:
            suite_task(task)
        for optimizer, rates in self.rates.items():
            baseline(optimizer)
            if not rates or min(rates) <= 0 or list(rates) != sorted(set(rates)):
                raise UserError(f"Suite.rates of {optimizer} are {list(rates)}", "give rising numbers above 0")
        if ADAM not in self.rates:
            raise UserError(f"Suite.rates has {', '.join(self.rates) or 'nothing'}", "add adam, which scores stand on")
        if self.adam_factor < 1:
            raise UserError(f"Suite.adam_factor is {self.adam_factor}", "give at least 1")

    def baseline_config(self, task: str, optimizer: str, rate: float, seed: int) -> dict[str, Any]:
        """A baseline's cell."""
        steps = self.steps * (self.adam_factor if optimizer == ADAM else 1)
        shared = {"task": task, "seed": seed, "steps": steps, "every": self.every}
        return {"optimizer": optimizer, "learning_rate": float(rate), **shared}

    def baseline_configs(self) -> list[dict[str, Any]]:
        """All baselines' cells."""
        return [
            self.baseline_config(task, optimizer, rate, seed)
            for task in self.tasks
            for optimizer, rates in self.rates.items()
            for rate in rates
            for seed in self.seeds
        ]

    def learned_configs(self, optimizer: str, weights: str, sha256: str) -> list[dict[str, Any]]:
        """A learned optimizer's cells."""
        shared = {"optimizer": optimizer, "weights": weights, "sha256": sha256}
        return [
            {**shared, "task": task, "seed": seed, "steps": self.steps, "every": self.every}
            for task in self.tasks
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Learned:
    """A learned optimizer to measure: of weights that are there, or of a meta-training.

    Attributes:
        name: one lowercase word, of steps and tables.
        optimizer: "star", "adafactor_mlp", "velo" or "mlp", where the weights ship with this package.
        weights: "shipped", or a file of ours or a released checkpoint (or its folder), local or remote.
        meta_training: what to meta-train, instead of weights.
        last_layer_scale: what the last layer of its network is times: at 0 STAR's nominal term is measured alone.
    """

    name: str = "star"
    optimizer: str = "star"
    weights: str = ""
    meta_training: Run | None = None
    last_layer_scale: float = 1.0

    def __post_init__(self) -> None:
        if bool(self.weights) == (self.meta_training is not None):
            which = "both weights and" if self.weights else "neither weights nor"
            raise UserError(f"Learned {self.name} has {which} a meta-training", "give one of them")

    def source(self) -> Source:
        """The files of the weights, where they are there already.

        Raises:
            UserError: they are not, and it says where released ones are; or they cannot be read, or are of another
                optimizer: known before hours of other steps.
        """
        if self.weights == SHIPPED_WORD:
            path = str(resources.files("models.learned_optimizers") / SHIPPED / f"{self.optimizer}.theta")
            if not files.exists(path):
                raise UserError(f"no weights of {self.optimizer!r} ship with this package", "meta-train some")
            return source_of_files("weights", [path])
        if not files.exists(self.weights):
            raise UserError(f"no weights of a learned optimizer at {self.weights}", WHERE)
        kind = theta_files.load(self.weights).optimizer.name
        if kind != self.optimizer:
            raise UserError(f"{self.weights} has weights of {kind}", f"give weights of {self.optimizer}")
        path = file_of(self.weights)
        beside = files.join(path.rpartition("/")[0] or ".", "config.gin")
        return source_of_files("weights", [path, *([beside] if files.exists(beside) else [])])

    def meta_training_step(self) -> Step | None:
        """The step that meta-trains it, if one does."""
        if self.meta_training is None:
            return None
        return self.meta_training.step(step_name=f"meta_train_{self.name}")


def checked_learned(learned: Sequence[Learned], suite: Suite) -> None:
    """Passes if all names are different ones.

    Raises:
        UserError: two optimizers have one name.
    """
    names = [*suite.rates, *(one.name for one in learned)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"two optimizers of the suite are called {twice[0]!r}", "call one otherwise")


def baselines_step(suite: Suite, beam_flags: Sequence[str] = ()) -> Step:
    """The baselines' trainings; what it writes is `workflows.sweep.read_table`'s."""
    configs = suite.baseline_configs()
    lasts = duration(sum(TRAINING.cost(config) for config in configs) / processors())
    return sweep_step("baselines", TRAINING_ADDRESS, configs, beam_flags, code=CODE, lasts=lasts)


def learned_step(learned: Learned, suite: Suite, made: Step | None, beam_flags: Sequence[str] = ()) -> Step:
    """A learned optimizer's trainings: the table of its cells, and weights.json: what its weights are.

    Args:
        learned: which.
        suite: which tasks.
        made: its meta-training's step, where it has one.
        beam_flags: for Beam.
    """

    def run(running: Running) -> dict[str, Any]:
        if made is not None:
            assert learned.meta_training is not None
            weights = theta_files.load(files.join(running.input("weights"), theta_file(learned.meta_training.name)))
        else:
            paths = running.source("weights").paths
            weights = theta_files.load(next(p for name, p in paths.items() if not name.endswith("config.gin")))
        theta = last_layer_scaled(weights.optimizer, weights.theta, learned.last_layer_scale)
        data = theta_files.to_bytes(weights.optimizer, theta, weights.made_with)
        sha256 = hashlib.sha256(data).hexdigest()
        path = files.join(running.shared("weights"), f"{sha256[:16]}.theta")
        files.write_bytes(path, data)
        configs = suite.learned_configs(weights.optimizer.name, path, sha256)
        store, what = running.shared(SHARED), f"{running.step.name}: cells done"
        outcome = run_sweep(store, TRAINING_ADDRESS, configs, beam_flags, what=what)
        files.write_bytes(running.path(CELLS), parquet_bytes(read_cells(store, TRAINING_ADDRESS, configs)))
        files.write_bytes(running.path(DEAD_LETTERS), lines_of(outcome.dead))
        about = {"optimizer": weights.optimizer.name, "sha256": sha256, "made_with": dict(weights.made_with)}
        files.write_json(running.path(ABOUT), about)
        return outcome.counters

    scaled = {} if learned.last_layer_scale == 1 else {"last_layer_scale": learned.last_layer_scale}
    # only a cell's cost is asked of these
    configs = suite.learned_configs(learned.optimizer, "", "")
    return Step(
        f"suite_{learned.name}",
        run,
        config={"kind_version": TRAINING.version, "cells": files.digest(configs), **scaled},
        inputs={"weights": made or learned.source()},
        code=CODE,
        lasts=duration(sum(TRAINING.cost(config) for config in configs) / processors()),
    )


def report_inputs(suite: Suite, learned: Sequence[Learned], beam_flags: Sequence[str]) -> dict[str, Step]:
    """The steps of a benchmark that a report reads, by the words that it asks for them with."""
    TRAINING.prepare()  # before the first step of the run, which may be a meta-training in this process
    inputs: dict[str, Step] = {"baselines": baselines_step(suite, beam_flags)}
    for one in learned:
        made = one.meta_training_step()
        if made is not None:
            inputs[f"meta_train_{one.name}"] = made
        inputs[f"suite_{one.name}"] = learned_step(one, suite, made, beam_flags)
    return inputs
