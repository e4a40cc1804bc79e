"""The `parameterization` system: grids over width, learning rate, optimizer and parameterization (arXiv:2407.05872).

    train (one step for each sweep) ──┐
    observe (one for each look) ──────┴── report

Every training is a cell of the sweep engine (`beam_jobs.sweep`): kept beside the steps, never trained again. Settings
are in `parameterization_settings`, what is measured in `parameterization_measures`, the page in
`parameterization_report`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from beam_jobs.parameterization.cells import OBSERVED, OBSERVED_ADDRESS, TRAINING, TRAINING_ADDRESS
from shammie.errors import UserError
from shammie.processors import processors
from shammie.progress import duration
from workflows import parameterization_report
from workflows.dag import Step
from workflows.parameterization_settings import Look, Settings, Sizes, Sweep
from workflows.sweep import sweep_step

__all__ = ["Look", "Settings", "Sizes", "Sweep", "steps"]

CELLS = ("models.parameterization", "models.training", "models.lm")
MEASURES = (
    "workflows.parameterization_measures",
    "workflows.parameterization_pictures",
    "workflows.parameterization_report",
    "workflows.report",
)


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: grids train on Python's help topics.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(
            f"parameterization reads no --input (got {input[0]})",
            "leave it out, or train a model of yours by python -m workflows.train with TrainConfig.parameterization",
        )
    settings = settings or Settings()
    inputs: dict[str, Step] = {}
    for sweep in settings.sweeps:
        inputs[f"sweep_{sweep.name}"] = _cells(
            f"train_{sweep.name}", TRAINING, TRAINING_ADDRESS, sweep, settings, beam_flags
        )
    for look in settings.looks:
        inputs[f"look_{look.name}"] = _cells(
            f"observe_{look.name}", OBSERVED, OBSERVED_ADDRESS, look, settings, beam_flags
        )
    told = {
        "sweeps": [asdict(sweep) for sweep in settings.sweeps],
        "looks": [asdict(look) for look in settings.looks],
    }
    return [
        Step(
            "report",
            lambda running: parameterization_report.write(running, settings),
            config=told,
            inputs=inputs,
            code=MEASURES,
        )
    ]


def _cells(name: str, kind: Any, address: str, grid: Sweep | Look, settings: Settings, flags: Sequence[str]) -> Step:
    configs = grid.configs()
    distinct = {repr(sorted(config.items())): config for config in configs}.values()
    seconds = sum(kind.cost(config) for config in distinct) / processors()
    return sweep_step(
        name,
        address,
        configs,
        flags,
        max_bad_share=settings.max_bad_share,
        code=CELLS,
        lasts=duration(seconds),
    )
