"""What the reports of `star` and `velo` share: a benchmark's curves read, published and shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.sweep.store import parquet_bytes
from models.learned_optimizers import baseline_files
from shammie import files
from workflows.dag import Running
from workflows.meta_training import Point, read_curve
from workflows.optimizer_suite import ABOUT, Learned, Suite
from workflows.optimizer_suite_measures import SuiteCurves, curves_table, suite_curves
from workflows.optimizer_suite_pictures import meta_curves, shown
from workflows.provenance import shell_command
from workflows.report import Page
from workflows.sweep import read_table

CURVES, ADAM_CURVES = "curves.parquet", "adam_baselines.json"


def read_suite(running: Running, suite: Suite, learned: Sequence[Learned]) -> SuiteCurves:
    """The curves of a report's inputs (`optimizer_suite.report_inputs`)."""
    found = {}
    for one in learned:
        folder = running.input(f"suite_{one.name}")
        found[one.name] = read_table(folder), files.read_json(files.join(folder, ABOUT))
    return suite_curves(suite, read_table(running.input("baselines")), found)


def publish(running: Running, curves: SuiteCurves) -> None:
    """Writes curves.parquet, all curves, and adam_baselines.json: tuned Adam's in the reference's format."""
    files.write_bytes(running.path(CURVES), parquet_bytes(curves_table(curves)))
    baselines = {task: curves.adam(task) for task in curves.suite.tasks}
    files.write_bytes(running.path(ADAM_CURVES), baseline_files.to_bytes(baselines))


def meta_training_curves(running: Running, learned: Sequence[Learned]) -> dict[str, list[Point]]:
    """The curves of those that this run meta-trained."""
    made = [one.name for one in learned if one.meta_training is not None]
    return {name: read_curve(running.input(f"meta_train_{name}")) for name in made}


def add_meta_training(page: Page, curves: Mapping[str, Sequence[Point]]) -> None:
    """The section of what this run meta-trained; none if it was nothing."""
    if not curves:
        return
    page.section(
        "Meta-training",
        "The mean loss of trainings while theta is trained, as a share of the loss that trainings begin with; theta is"
        " perturbed, and trainings are at all stages, so that these are not final losses.",
    )
    page.picture(meta_curves(curves))
    rows = [
        [shown(name), points[-1].iteration, points[-1].environment_steps, f"{points[-1].loss:.4f}", points[-1].skipped]
        for name, points in curves.items()
    ]
    page.table(["", "iterations", "steps of trainings", "last loss", "updates left out"], rows)


def add_files(page: Page) -> None:
    """Where the data are, and the command."""
    page.section(
        "Data",
        f"In the report step's folder: {CURVES} (every curve: task, optimizer, learning rate, seed) and {ADAM_CURVES}"
        " (tuned Adam's lower envelope in the format of google/learned_optimization's benchmark).",
    )
    page.section("Made by")
    page.command(shell_command())


def meta_results(curves: Mapping[str, Sequence[Point]]) -> dict[str, Any]:
    """NAME_meta_environment_steps, NAME_meta_loss_share and NAME_meta_skipped_updates of what was meta-trained."""
    out: dict[str, Any] = {}
    for name, points in curves.items():
        out[f"{name}_meta_environment_steps"] = points[-1].environment_steps
        out[f"{name}_meta_loss_share"] = points[-1].loss
        out[f"{name}_meta_skipped_updates"] = points[-1].skipped
    return out
