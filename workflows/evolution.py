"""The `evolution` system: gradients of unrolled computations by evolution, and what they cost (arXiv:2304.12180).

    learn_NAME (one for each comparison of estimators) ──┐
    variance_NAME (one for each sweep over K) ───────────┼── report
    bias_NAME (mean estimates on noisy quadratics) ──────┘

Every run of learning and every measured moment is a cell of the sweep engine (`beam_jobs.sweep`): kept beside the
steps, never made again. Settings are in `evolution_settings`, what is measured in `evolution_measures`, the page in
`evolution_report`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from beam_jobs.evolution.cells import LEARNING, LEARNING_ADDRESS, MOMENTS, MOMENTS_ADDRESS
from shammie.errors import UserError
from shammie.processors import processors
from shammie.progress import duration
from workflows import evolution_report
from workflows.dag import Step
from workflows.evolution_settings import Bias, Comparison, Settings, Variance
from workflows.sweep import sweep_step

__all__ = ["Bias", "Comparison", "Settings", "Variance", "steps"]

CELLS = ("models.evolution", "models.learned_optimizers")
MEASURES = (
    "workflows.evolution_measures",
    "workflows.evolution_pictures",
    "workflows.evolution_report",
    "workflows.report",
    "models.evolution.linear",
    "models.evolution.quadratic",
)


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: problems are equations.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(f"evolution reads no --input (got {input[0]})", "leave it out: its problems are equations")
    settings = settings or Settings()
    inputs: dict[str, Step] = {}
    for one in settings.comparisons:
        inputs[f"learn_{one.name}"] = _cells(f"learn_{one.name}", LEARNING, LEARNING_ADDRESS, one, settings, beam_flags)
    for word, several in (("variance", settings.variances), ("bias", settings.biases)):
        for one in several:
            name = f"{word}_{one.name}"
            inputs[name] = _cells(name, MOMENTS, MOMENTS_ADDRESS, one, settings, beam_flags)
    told = {kind: [asdict(one) for one in getattr(settings, kind)] for kind in ("comparisons", "variances", "biases")}
    for one in told["comparisons"]:
        del one["model_file"]  # a path is no part of what a step is; its text is, in the cells
    return [
        Step(
            "report",
            lambda running: evolution_report.write(running, settings),
            config=told,
            inputs=inputs,
            code=MEASURES,
        )
    ]


def _cells(
    name: str, kind: Any, address: str, of: Comparison | Variance | Bias, settings: Settings, flags: Sequence[str]
) -> Step:
    configs = of.configs()
    seconds = sum(kind.cost(config) for config in configs) / processors()
    return sweep_step(
        name,
        address,
        configs,
        flags,
        max_bad_share=settings.max_bad_share,
        code=CELLS,
        lasts=duration(max(1.0, seconds)),
    )
