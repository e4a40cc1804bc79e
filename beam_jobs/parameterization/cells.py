"""The cells of `parameterization` on the sweep engine: trainings for their loss, and trainings that are looked into."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_jobs.sweep.ways import Ways
from models.parameterization.alignment import MEASURES
from models.parameterization.coordinates import EPSILON_POWERS, observe
from models.parameterization.grid import Training
from models.parameterization.group_training import CURVE_POINTS, curve, final_loss, losses_of
from models.parameterization.text import check_text
from shammie.processors import processors

TRAINING_ADDRESS = "beam_jobs.parameterization.cells:TRAINING"
OBSERVED_ADDRESS = "beam_jobs.parameterization.cells:OBSERVED"
GROUP_SECONDS, MOST_IN_GROUP = 20.0, 48
SAMPLE_SECONDS, SAMPLE_STEPS, SAMPLES = 0.05, 20, 2
LOOP_STEP_SECONDS = 6e-6  # what a core's loop takes to start the 50 operations of a step, however small the model
PEAK_FLOPS_PER_S = 2e11  # more than a core can do
FLOPS_PER_S = 6e10  # a core's, in such small products
STEP_SECONDS = 8e-6  # what a step takes beside its products


class Trainings:
    """The kind of a training for its loss.

    A row has the final loss (mean nats over the last 1/8 of the steps), and the loss over time.
    """

    name = "training"
    version = 1
    threads = 1  # a group uses all processors
    schema = pa.schema([("final_loss", pa.float64()), ("loss_curve", pa.list_(pa.float32()))])

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled program."""
        return Training.from_json(config).shape.__dict__

    def group_size(self, config: Mapping[str, Any]) -> int:
        """As many as last some seconds, in whole chunks of lanes."""
        lanes = Training.from_json(config).shape.lanes()
        most = min(MOST_IN_GROUP, int(GROUP_SECONDS / self.cost(config)))
        return max(lanes, most - most % lanes)

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        shape = Training.from_json(config).shape
        positions = shape.batch * (1 if shape.model == "mlp" else shape.context)
        # 6 operations a parameter and position in products, some 20 a parameter in the optimizer
        flops = shape.parameters() * (6.0 * positions + 20.0)
        parts = 1 if shape.model == "mlp" else 12 * shape.layers
        return shape.steps * (flops / FLOPS_PER_S + parts * STEP_SECONDS)

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """The loss and its curve."""
        return 8 + 4 * min(CURVE_POINTS, Training.from_json(config).shape.steps)

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Trains all cells, the way that is the fastest for their shape."""
        trainings = [Training.from_json(config) for config in configs]
        way = chosen_way(trainings, ways)
        return [{"final_loss": final_loss(one), "loss_curve": curve(one)} for one in losses_of(trainings, way)]


def chosen_way(trainings: Sequence[Training], ways: Ways) -> str:
    """Whichever of "group" and "loop" makes more cells a second: some steps of a few cells are timed.

    To compile the other way takes as long as a column of small trainings: where a group is faster than any loop can
    start its operations, the loop is not compiled.

    Args:
        trainings: cells of one shape.
        ways: the store's choices.
    """
    shape = trainings[0].shape
    lanes = shape.lanes()
    step_seconds = TRAINING.cost(trainings[0].to_json()) / shape.steps
    steps = min(shape.steps, max(SAMPLE_STEPS, int(SAMPLE_SECONDS / (step_seconds * lanes))))
    products = 6.0 * shape.batch * shape.parameters() / PEAK_FLOPS_PER_S if shape.model == "mlp" else 0.0
    floor = steps * (LOOP_STEP_SECONDS + products) / processors()  # no loop can be faster for a cell

    def timed(way: str) -> float:
        """The fewest seconds a cell, of some samples."""
        some = [trainings[place % len(trainings)] for place in range(2 * lanes if way == "group" else 4)]
        losses_of(some, way, steps=1)  # compiles
        found = []
        for _ in range(SAMPLES):
            start = time.perf_counter()
            losses_of(some, way, steps=steps)
            found.append((time.perf_counter() - start) / len(some))
        return min(found)

    of_group: list[float] = []

    def group() -> float:
        of_group.append(timed("group"))
        return of_group[0]

    def loop() -> float:
        return floor if of_group and of_group[0] < floor else timed("loop")

    return ways.choose({"shape": shape.__dict__, "lanes": lanes}, {"group": group, "loop": loop})


class Observations:
    """The kind of a training that is looked into after the steps `at_steps` of its config.

    Layers and parameters are in `layers` and `parameters`; matrices are flat, step by step and parameter by parameter.
    """

    name = "observation"
    version = 1
    schema = pa.schema(
        [
            ("layers", pa.list_(pa.string())),
            ("parameters", pa.list_(pa.string())),
            ("losses", pa.list_(pa.float32())),
            ("output_rms", pa.list_(pa.float64())),
            ("alone_rms", pa.list_(pa.float64())),
            ("change_rms", pa.list_(pa.float64())),
            *((measure, pa.list_(pa.float64())) for measure in MEASURES),
            ("below", pa.list_(pa.float64())),
        ]
    )

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled programs."""
        return {**Training.from_json(config).shape.__dict__, "at_steps": list(config["at_steps"])}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """Programs are compiled once for all of a shape."""
        return MOST_IN_GROUP

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        share = config["at_steps"][-1] / config["steps"]
        return 2 * share * TRAINING.cost(config)

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """Some numbers a layer and step, and the shares below each epsilon."""
        training = Training.from_json(config)
        layers = 3 + training.shape.layers * (1 if training.shape.model == "mlp" else 8)
        return layers * (60 + 8 * (6 * len(config["at_steps"]) + len(EPSILON_POWERS))) + 4 * training.shape.steps

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Trains one after the other."""
        return [self._row(config) for config in configs]

    def _row(self, config: Mapping[str, Any]) -> dict[str, Any]:
        check_text(config["text"])
        found = observe(Training.from_json(config), config["at_steps"])
        return {
            "layers": found.layers,
            "parameters": found.parameters,
            "losses": found.losses,
            "output_rms": found.output_rms_L,
            "alone_rms": found.alone_rms_L,
            "change_rms": found.change_rms_SL.ravel(),
            **{measure: found.alignment[measure].ravel() for measure in MEASURES},
            "below": found.below_KE.ravel(),
        }


TRAINING = Trainings()
OBSERVED = Observations()
