"""The `composition` system: diffusion models as densities that are composed and sampled by MCMC.

    plane (trains, composes and samples: cells of a sweep) ─────────────┐
    train_positions_… ──┬── scenes    (many positions at once) ─────────┤
    judge_positions ────┘                                               │
    train_captions_… ───┬── captions  (AND, NOT) ───────────────────────┼── report
    judge_captions ─────┘                                               │
    train_digits_… ─────┬── guidance  (by a classifier) ────────────────┤
    train_guide, judge ─┴── tapestry  (windows of one canvas) ──────────┘

(Reduce, Reuse, Recycle, arXiv:2302.11552.) Each part may be left out. What its settings mean is in
`composition_plane`, `composition_scenes`, `composition_captions` and `composition_digits`; the page in
`composition_report`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from beam_jobs.composition.plane_cells import PLANE, PLANE_ADDRESS
from beam_jobs.runner import worker_processes
from shammie.configs import plain
from shammie.errors import UserError
from shammie.progress import duration
from workflows import composition_report
from workflows.composition_captions import CaptionSettings, caption_step
from workflows.composition_digits import DigitSettings, guided_steps
from workflows.composition_plane import PlaneGrid
from workflows.composition_scenes import SceneSettings, scene_step
from workflows.dag import Step
from workflows.sweep import sweep_step

__all__ = ["CaptionSettings", "DigitSettings", "PlaneGrid", "SceneSettings", "Settings", "steps"]

CELLS = ("models.composition", "models.training")
PAGES = tuple(
    f"workflows.composition_{name}"
    for name in ("report", "plane", "plane_pictures", "digits_pictures", "scenes_pictures")
)


@dataclass(frozen=True)
class Settings:
    """A run; None leaves a part out.

    Attributes:
        plane: the 2D table.
        scenes: positions composed.
        captions: captions composed.
        digits: guidance by a classifier, and tapestries.
        max_bad_share: share of the plane's cells that may fail.
        processes: worker processes of the plane where no flags for Beam are given: within one its programs, which hang
            side by side, run one at a time.
    """

    plane: PlaneGrid | None = None
    scenes: SceneSettings | None = None
    captions: CaptionSettings | None = None
    digits: DigitSettings | None = None
    max_bad_share: float = 0.0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UserError(f"Settings.processes is {self.processes!r}", "give 1 or more")
        if not any((self.plane, self.scenes, self.captions, self.digits)):
            raise UserError(
                "composition has nothing to do: all parts are None", "give plane, scenes, captions or digits"
            )


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: data is named in the settings.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(
            f"composition reads no --input (got {input[0]})",
            "leave it out; python -m workflows.train with gin/train/composition*.gin trains on images of your own",
        )
    PLANE.prepare()  # before this process's first program, which may be a training's
    settings = settings or Settings(PlaneGrid())
    inputs: dict[str, Step] = {}
    if settings.plane:
        configs = settings.plane.configs()
        lasts = duration(sum(PLANE.cost(config) for config in configs) / settings.processes)
        beam_flags = beam_flags or worker_processes(settings.processes)
        inputs["plane"] = sweep_step(
            "plane", PLANE_ADDRESS, configs, beam_flags, max_bad_share=settings.max_bad_share, code=CELLS, lasts=lasts
        )
    if settings.scenes:
        inputs["scenes"] = scene_step(settings.scenes)
    if settings.captions:
        inputs["captions"] = caption_step(settings.captions)
    if settings.digits:
        inputs |= guided_steps(settings.digits)
    told: dict[str, Any] = plain(replace(settings, processes=1))  # how many there were changes no result
    return [
        Step(
            "report",
            lambda running: composition_report.write(running, settings),
            config=told,
            inputs=inputs,
            code=(*PAGES, "workflows.report"),
        )
    ]
