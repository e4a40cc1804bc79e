"""The cells of `evolution` on the sweep engine: runs of learning, and measured moments of estimates."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_jobs.sweep.ways import Ways
from models.evolution.learning import SHOWN_NUMBERS, Learning, learn
from models.evolution.moments import Moments, measure
from models.evolution.problems import horizon_of, problem_config

LEARNING_ADDRESS = "beam_jobs.evolution.cells:LEARNING"
MOMENTS_ADDRESS = "beam_jobs.evolution.cells:MOMENTS"
MOST_IN_GROUP = 8
COMPILE_SECONDS = 6.0
STEP_SECONDS = 2e-6  # of a loop over steps, however few trajectories it moves
TRAJECTORY_STEP_SECONDS = {"physics": 1e-2}  # of one trajectory; others below
TRAJECTORY_STEP_DEFAULT = 1.5e-9
NETWORK_SECONDS = 1.2e-9  # of a number that the MLP optimizer's network makes, per inner parameter and hidden unit
DIFFERENTIATED = {"backprop": 3.0, "truncated_backprop": 3.0, "dodge": 4.0, "uoro": 60.0}


class Runs:
    """The kind of a run of learning: a row has what was seen at its points (`models.evolution.learning.Seen`)."""

    name = "evolution_learning"
    version = 1
    schema = pa.schema(
        [
            ("iterations", pa.list_(pa.int64())),
            ("environment_steps", pa.list_(pa.int64())),
            ("sequential_steps", pa.list_(pa.int64())),
            ("loss", pa.list_(pa.float64())),
            ("smoothed_loss", pa.list_(pa.float64())),
            ("skipped", pa.int64()),
            ("theta", pa.list_(pa.float64())),
        ]
    )

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled programs: all but the seed."""
        return {**Learning.from_json(config).to_json(), "seed": 0}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """Few: a group shares what is compiled, and is lost as a whole when the process ends."""
        return MOST_IN_GROUP

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        run = Learning.from_json(config)
        horizon = horizon_of(run.problem, run.options)
        whole = run.estimator in ("full_es", "backprop")
        sequential = run.iterations * (horizon if whole else run.window)
        trajectories = run.particles * (1 if run.estimator in DIFFERENTIATED else 2)
        slower = DIFFERENTIATED.get(run.estimator, 1.0)
        learned = sequential * (STEP_SECONDS + slower * trajectories * _step_seconds(run.problem, run.options))
        looked = (run.points + 1) * horizon
        looked *= STEP_SECONDS + (run.episodes + 2 * run.pairs) * _step_seconds(run.problem, run.options)
        return COMPILE_SECONDS / MOST_IN_GROUP + learned + looked

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """Five numbers a point."""
        return 8 * (5 * (Learning.from_json(config).points + 1) + SHOWN_NUMBERS + 1)

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Makes one run after the other."""
        return [learn(Learning.from_json(config))._asdict() for config in configs]


class MeasuredMoments:
    """The kind of measured moments of an estimate (`models.evolution.moments.Measured`)."""

    name = "evolution_moments"
    version = 1
    schema = pa.schema(
        [
            ("mean", pa.list_(pa.float64())),
            ("mean_error", pa.list_(pa.float64())),
            ("variance", pa.float64()),
            ("variance_error", pa.float64()),
        ]
    )

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled program: all but the seed."""
        return {**Moments.from_json(config).to_json(), "seed": 0}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """Few: a group shares what is compiled."""
        return MOST_IN_GROUP

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        wanted = Moments.from_json(config)
        # estimates of single workers, with random numbers of their own for each window
        steps = wanted.episodes * horizon_of(wanted.problem, wanted.options)
        return COMPILE_SECONDS + steps * (20 * _step_seconds(wanted.problem, wanted.options) + 1e-7 / wanted.window)

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """Two numbers a parameter, which are few."""
        return 8 * (2 * SHOWN_NUMBERS + 2)

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Measures one after the other."""
        return [measure(Moments.from_json(config))._asdict() for config in configs]


def _step_seconds(problem: str, options: Mapping[str, Any]) -> float:
    """About the seconds of a step of one of many trajectories on one core."""
    if problem == "optimizer":
        config = problem_config(problem, options)
        sizes = [config.side**2, *config.widths, config.classes]
        inner = sum(a * b for a, b in itertools.pairwise(sizes))
        return NETWORK_SECONDS * inner * (19 + config.hidden_size + 2) * config.hidden_size / 8
    return TRAJECTORY_STEP_SECONDS.get(problem, TRAJECTORY_STEP_DEFAULT)


LEARNING = Runs()
MOMENTS = MeasuredMoments()
