"""The page and the result of a `velo` run."""

from typing import TYPE_CHECKING, Any

from models.learned_optimizers.released import WHERE
from shammie.files import join, read_json, write_bytes, write_json
from workflows import optimizer_suite_report as suite_report
from workflows.dag import Running
from workflows.optimizer_suite_measures import suite_results
from workflows.optimizer_suite_pictures import add_suite, shown
from workflows.report import Page

if TYPE_CHECKING:
    from workflows.velo import Settings

REFERENCE = "reference.json"


def write(running: Running, settings: "Settings") -> None:
    """Writes result.json, report.html, and the curves as data.

    The result has the suite's keys (`suite_results`), those of meta-training (`meta_results`), and
    reference_baseline_tasks, how many curves of the reference's file were read, and reference_baseline_tasks_missing.
    """
    learned = settings.all_learned
    curves = suite_report.read_suite(running, settings.suite, learned)
    made = suite_report.meta_training_curves(running, learned)
    suite_report.publish(running, curves)
    reference = read_json(join(running.input("reference"), REFERENCE)) if settings.reference_baselines else {}
    page = Page(
        "velo: a versatile learned optimizer",
        "VeLO (arXiv:2211.09760) on a suite of small tasks beside optimizers with tuned learning rates, by the paper's"
        " score: how many steps of tuned Adam its loss is worth.",
    )
    numbers = []
    for name in curves.learned:
        wins, count = curves.wins(name)
        numbers.append((f"{wins} of {count}", f"tasks where {shown(name)} ends below Adam of the best learning rate"))
    page.numbers(numbers)
    if not settings.weights:
        page.section("Released weights", f"They were not measured in this run. {WHERE[0].upper() + WHERE[1:]}, as")
        page.command("shammie run velo --gin.WEIGHTS='\"FOLDER\"'")
    suite_report.add_meta_training(page, made)
    add_suite(page, curves)
    _reference(page, reference)
    suite_report.add_files(page)
    result: dict[str, Any] = suite_results(curves) | suite_report.meta_results(made)
    if reference:
        result["reference_baseline_tasks"] = len(reference["tasks"])
        result["reference_baseline_tasks_missing"] = len(reference["missing"])
    write_json(running.path("result.json"), result, sort_keys=False)
    write_bytes(running.path("report.html"), page.render().encode())


def _reference(page: Page, reference: dict[str, Any]) -> None:
    if not reference:
        return
    page.section(
        "The reference's baselines",
        "Tuned Adam on the reference's own tasks, from the file that was given: what a loss of yours there can be"
        " measured by (models.learned_optimizers.speedup).",
    )
    page.table(
        ["task", "steps", "first loss", "last loss", "steps to half of the way"],
        [[row["task"], row["steps"], row["first"], row["last"], row["half"]] for row in reference["tasks"]],
    )
    if reference["missing"]:
        page.text(f"The file has no curve of {', '.join(reference['missing'])}.", note=True)
