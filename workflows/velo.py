"""The `velo` system: the versatile learned optimizer, meta-trained small or as released, on a suite (2211.09760).

    meta_train_velo ── suite_velo ────────────────────┐
    released weights (WEIGHTS) ── suite_velo_released ─┤
    reference baselines (BASELINES) ── reference ──────┤
    baselines (Adam and others over learning rates) ───┴── report

Sizes are in gin/velo, the benchmark in `optimizer_suite`, meta-training in `meta_training`, the page in `velo_report`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from beam_jobs.sweep.store import parquet_bytes
from models.learned_optimizers import baseline_files
from models.learned_optimizers.speedup import steps_to_reach
from shammie.errors import UserError
from shammie.files import write_bytes, write_json
from workflows import optimizer_suite, velo_report
from workflows.dag import Running, Step, source_of_files
from workflows.optimizer_suite import Learned, Suite, checked_learned

__all__ = ["Learned", "Settings", "Suite", "steps"]

RELEASED = "velo_released"
PAGES = (
    "workflows.report",
    "workflows.velo_report",
    "workflows.optimizer_suite_measures",
    "workflows.optimizer_suite_pictures",
    "workflows.optimizer_suite_report",
)


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        suite: the benchmark.
        learned: the learned optimizers in it.
        weights: VeLO's released checkpoint or its folder, local or remote, to be measured too; "" for none.
        reference_baselines: a file of the reference's baseline curves (`baseline_files`), local or remote; "" for none.
        reference_tasks: names of its tasks whose curves are shown, where the file has them; none: all that it has.
    """

    suite: Suite = field(default_factory=Suite)
    learned: Sequence[Learned] = ()
    weights: str = ""
    reference_baselines: str = ""
    reference_tasks: Sequence[str] = ()

    def __post_init__(self) -> None:
        checked_learned(self.all_learned, self.suite)

    @property
    def all_learned(self) -> list[Learned]:
        """The learned optimizers, released weights among them."""
        return [*self.learned, *([Learned(RELEASED, "velo", self.weights)] if self.weights else [])]


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: tasks are drawn.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(
            f"velo reads no --input (got {input[0]})",
            "leave it out: its tasks are drawn; released weights are given as --gin.WEIGHTS",
        )
    settings = settings or Settings()
    inputs = optimizer_suite.report_inputs(settings.suite, settings.all_learned, beam_flags)
    if settings.reference_baselines:
        source = source_of_files("baselines", [settings.reference_baselines])
        tasks = list(settings.reference_tasks)
        inputs["reference"] = Step(
            "reference", read_reference, config={"tasks": tasks}, inputs={"file": source},
            code=("models.learned_optimizers.baseline_files",),
        )  # fmt: skip
    told = {"suite": asdict(settings.suite), "learned": [one.name for one in settings.all_learned]}
    return [
        Step("report", lambda running: velo_report.write(running, settings), config=told, inputs=inputs, code=PAGES)
    ]


def read_reference(running: Running) -> dict[str, Any]:
    """Reads the reference's baseline curves; writes them as Parquet, and what each task's says.

    Its files differ in which tasks they have, so that some may be missing; an error if all are.
    """
    found = baseline_files.read_baselines(next(iter(running.source("file").paths.values())))
    wanted = running.config["tasks"] or sorted(found)
    missing = [task for task in wanted if task not in found]
    if len(missing) == len(wanted):
        baseline_files.baseline_of(found, missing[0])  # raises: it names the nearest
    curves = {task: found[task] for task in wanted if task in found}
    columns = {
        "task": pa.array(list(curves), pa.string()),
        "steps": pa.array([curve.steps_P.tolist() for curve in curves.values()], pa.list_(pa.float64())),
        "losses": pa.array([curve.losses_P.tolist() for curve in curves.values()], pa.list_(pa.float64())),
    }
    write_bytes(running.path("reference_baselines.parquet"), parquet_bytes(pa.table(columns)))
    rows = []
    for task, curve in curves.items():
        first, last = float(curve.losses_P[0]), float(curve.losses_P[-1])
        half = float(steps_to_reach(curve, (first + last) / 2))
        rows.append({"task": task, "steps": float(curve.steps_P[-1]), "first": first, "last": last, "half": half})
    write_json(running.path(velo_report.REFERENCE), {"tasks": rows, "missing": missing})
    return {"tasks": len(curves), "missing": len(missing)}
