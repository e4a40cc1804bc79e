"""The cells of the optimizer benchmark: one training of one of the suite's tasks by one optimizer.

A config has "task", "optimizer", "seed", "steps" and "every" (steps from a point of the curve to the next), and either
"learning_rate" or, for a learned optimizer, "weights" (a file of `theta_files`) and its "sha256".
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_jobs.sweep.ways import Ways
from models.learned_optimizers import theta_files
from models.learned_optimizers.released import file_of, read
from models.learned_optimizers.suite import BASELINES, SUITE_TASKS, baseline, suite_task
from models.learned_optimizers.suite_training import MakeOptimizer, points_of, train
from shammie.errors import UserError
from shammie.xla import keep_in_order

TRAINING_ADDRESS = "beam_jobs.learned_optimizers.cells:TRAINING"
LANES = 24  # trainings in a program
LEARNED_FACTOR = 2.5  # what a learned optimizer's step takes of Adam's, in tasks this small
COMPILE_SECONDS = 4.0  # a program's


class Trainings:
    """The kind of a training. A row has the curve of held-out losses (`suite_training.train`), float32."""

    name = "optimizer_training"
    version = 1
    places = ("weights",)  # whose sha256 is in the config too
    schema = pa.schema([("losses", pa.list_(pa.float32()))])

    def prepare(self) -> None:
        """Lets the process end what it begins (`keep_in_order`)."""
        keep_in_order()

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled program: all but the seed and the learning rate."""
        return {name: value for name, value in config.items() if name not in ("seed", "learning_rate")}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """As many as one program trains."""
        return LANES

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        factor = 1.0 if config["optimizer"] in BASELINES else LEARNED_FACTOR
        task = SUITE_TASKS.get(config["task"])
        seconds = config["steps"] * factor * (task.step_seconds if task else 1e-3)
        return seconds + COMPILE_SECONDS * factor / LANES

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """The curve."""
        return 4 * len(points_of(config["steps"], config["every"]))

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Trains all cells in one program."""
        del ways
        first = configs[0]
        task = suite_task(first["task"])
        make, given = _optimizers(configs)
        seeds = [config["seed"] for config in configs]
        shared = "weights" in first
        losses_NP = train(task, make, seeds, given, steps=first["steps"], every=first["every"], shared=shared)
        return [{"losses": losses_P} for losses_P in losses_NP]


def _optimizers(configs: Sequence[Mapping[str, Any]]) -> tuple[MakeOptimizer, Any]:
    """The optimizers of a group, as `train` takes them."""
    first = configs[0]
    if "weights" not in first:
        return baseline(first["optimizer"]), np.array([config["learning_rate"] for config in configs], np.float32)
    weights = checked_weights(first["weights"], first["sha256"])
    if weights.optimizer.name != first["optimizer"]:
        raise UserError(f"{first['weights']} has weights of {weights.optimizer.name}", f"not of {first['optimizer']}")
    return _maker(weights.optimizer, first["steps"]), weights.theta


@functools.cache  # the same function again, so that what is compiled for it is compiled once
def _maker(optimizer: Any, steps: int) -> MakeOptimizer:
    return lambda theta: optimizer.optax(theta, steps)


def checked_weights(path: str, sha256: str) -> theta_files.Weights:
    """A learned optimizer's weights.

    Raises:
        UserError: they are not there, cannot be read, or are others than when the cell was made.
    """
    found = hashlib.sha256(read(file_of(path))).hexdigest()
    if found != sha256:
        raise UserError(f"the weights {path} have changed: sha256 {found[:12]}, not {sha256[:12]}", "run anew")
    return theta_files.load(path)


TRAINING = Trainings()
