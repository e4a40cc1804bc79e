"""The `in_context` system: learners meta-trained to learn in context, and when they memorise, identify or generalise.

    train (one step for each grid of meta-trainings) ──┐
    baselines ─────────────────────────────────────────┼── report
    meta_train ── judge (learner.bin on every set) ────┘

(GPICL, arXiv:2212.04458.) Meta-trainings of a grid are cells of the sweep engine (`beam_jobs.in_context`); meta_train
is a run of the bundled trainer, with checkpoints. Settings are in `in_context_settings`, the page in
`in_context_report`.
"""

from collections.abc import Sequence
from typing import Any

from beam_jobs.in_context.cells import BASELINE, BASELINE_ADDRESS, META_TRAINING, META_TRAINING_ADDRESS
from models.in_context.learner_config import LearnerConfig
from models.in_context.tasks import Mixture, TaskDistribution
from shammie.configs import plain
from shammie.errors import UserError
from shammie.progress import duration
from workflows import in_context_report
from workflows.dag import Step
from workflows.in_context_settings import Grid, Recipe, Settings
from workflows.in_context_steps import CELLS, judge_step, meta_train_step
from workflows.sweep import sweep_step

__all__ = ["Grid", "LearnerConfig", "Mixture", "Recipe", "Settings", "TaskDistribution", "steps"]

PAGES = ("workflows.in_context_report", "workflows.in_context_measures", "workflows.in_context_pictures")


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: data sets are named in the settings.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(
            f"in_context reads no --input (got {input[0]})",
            "leave it out, name data sets by --gin.DATA, or classify a table by `shammie in-context predict`",
        )
    META_TRAINING.prepare()  # before this process's first program, which may be the meta-training of the kept learner
    settings = settings or Settings()
    inputs: dict[str, Step] = {
        f"grid_{grid.name}": _cells(
            f"train_{grid.name}", META_TRAINING, META_TRAINING_ADDRESS, settings.configs(grid), settings, beam_flags
        )
        for grid in settings.grids
    }
    if settings.baselines:
        inputs["baselines"] = _cells(
            "baselines", BASELINE, BASELINE_ADDRESS, settings.baseline_configs(), settings, beam_flags
        )
    if settings.learner:
        inputs["judged"] = judge_step(settings, meta_train_step(settings))
    return [
        Step(
            "report",
            lambda running: in_context_report.write(running, settings),
            config=plain(settings),
            inputs=inputs,
            code=(*PAGES, "workflows.report"),
        )
    ]


def _cells(
    name: str, kind: Any, address: str, configs: Sequence[dict[str, Any]], settings: Settings, flags: Sequence[str]
) -> Step:
    seconds = sum(kind.cost(config) for config in configs)  # one at a time: see `beam_jobs.in_context.cells`
    return sweep_step(
        name,
        address,
        configs,
        flags,
        max_bad_share=settings.max_bad_share,
        code=CELLS,
        lasts=duration(seconds),
    )
