"""The page and the result of a `star` run."""

from typing import TYPE_CHECKING, Any

from shammie.files import join, read_json, write_bytes, write_json
from workflows import optimizer_suite_report as suite_report
from workflows import star_pictures as pictures
from workflows.dag import Running
from workflows.optimizer_suite_measures import SuiteCurves, suite_results, wins_by_kinship
from workflows.optimizer_suite_pictures import add_suite, between, final_loss, in_groups, shown
from workflows.report import Page
from workflows.star_theory import THEORY

if TYPE_CHECKING:
    from workflows.star import Settings


def write(running: Running, settings: "Settings") -> None:
    """Writes result.json, report.html, and the curves as data."""
    theory = read_json(join(running.input("theory"), THEORY)) if settings.theory is not None else None
    curves = suite_report.read_suite(running, settings.suite, settings.learned)
    made = suite_report.meta_training_curves(running, settings.learned)
    suite_report.publish(running, curves)
    page = Page(
        "star: stable learned optimizers",
        "What makes a learned optimizer stable, on a noisy quadratic where all is known; and STAR beside the"
        " Adafactor-MLP and tuned optimizers on a suite of small tasks (arXiv:2209.11208).",
    )
    page.numbers(_numbers(curves, theory))
    if theory is not None:
        _theory(page, theory)
    suite_report.add_meta_training(page, made)
    add_suite(page, curves)
    _rivals(page, curves)
    suite_report.add_files(page)
    result = results(curves, theory) | suite_report.meta_results(made)
    write_json(running.path("result.json"), result, sort_keys=False)
    write_bytes(running.path("report.html"), page.render().encode())


def results(curves: SuiteCurves, theory: dict[str, Any] | None) -> dict[str, Any]:
    """The flat result: the suite's keys (`suite_results`), and of the theory.

    - A_below_B_tasks and ..._of, for each STAR A and each rival B: on how many tasks A's mean final loss is lower; with
      ..._trained_on, ..._other_size, ..._other_family and ..._held_out as in the suite's keys.
    - stability_limit_NAME: what rate times curvature stays below; stable_share_NAME: of random learned blocks.
    - expected_loss_settles_at, expected_loss_largest_relative_difference: closed form against simulation.
    - meta_gradient_growth_RADIUS: the factor per step that was measured; RADIUS is what theory has.
    - random_theta_falls_share_NAME: untrained optimizers whose loss falls.
    """
    out: dict[str, Any] = {}
    for one, other in _pairs(curves):
        out |= wins_by_kinship(curves, f"{one}_below_{other}_tasks", one, other)
    out |= suite_results(curves)
    if theory is None:
        return out
    out |= {f"stability_limit_{_word(name)}": limit for name, limit in theory["regions"]["limits"].items()}
    for name, cloud in theory["clouds"].items():
        if name != "rate":
            out[f"stable_share_{_word(name)}"] = cloud["stable_share"]
    loss = theory["loss"]
    out["expected_loss_settles_at"] = loss["stationary"]
    out["expected_loss_largest_relative_difference"] = loss["largest_relative_difference"]
    for radius, factor in theory["growth"]["measured_growth"].items():
        out[f"meta_gradient_growth_{radius}"] = factor
    for name, share in theory["random_theta"]["falls_share"].items():
        out[f"random_theta_falls_share_{_word(name)}"] = share
    return out


def _word(name: str) -> str:
    return name.lower().replace(" ", "_").replace(".", "_")


def _pairs(curves: SuiteCurves) -> list[tuple[str, str]]:
    """Each STAR with each rival that is not one."""
    stars = [name for name in curves.learned if name.startswith("star")]
    return [(one, other) for one in stars for other in curves.learned if other not in stars]


def _numbers(curves: SuiteCurves, theory: dict[str, Any] | None) -> list[tuple[str, str]]:
    out = []
    for name in curves.learned:
        wins, count = curves.wins(name)
        out.append((f"{wins} of {count}", f"tasks where {shown(name)} ends below Adam of the best learning rate"))
    if theory is not None:
        limit = theory["regions"]["limits"]["AggMo"]
        out.append((f"{limit:.3f}", "rate times curvature that AggMo stays stable below"))
    return out[:6]


def _theory(page: Page, theory: dict[str, Any]) -> None:
    clouds, growth, loss, untrained = (theory[name] for name in ("clouds", "growth", "loss", "random_theta"))
    page.section(
        "Where a nominal term is stable",
        "The spectral radius of an optimizer on a quadratic, against its rate times the curvature. Momentum and the"
        " mean of several averages (AggMo) bear much larger rates than SGD. Dotted: where, in closed form, it ends.",
    )
    page.picture(pictures.stability(theory["regions"]))
    page.text(
        "With a learned linear block beside it: blue is stable. SGD rescues a block that ascends if its rate outweighs"
        " it; averages answer too late for blocks that ascend fast."
    )
    page.picture(pictures.stability_with_block(theory["regions"]))
    page.section(
        "Eigenvalues of untrained networks",
        f"Random learned blocks, which an untrained network resembles, have eigenvalues about 1: half of the directions"
        f" ascend. SGD of rate {clouds['rate']:g} moves them into the unit disk; averages, which are slow, move some.",
    )
    page.picture(pictures.clouds(clouds))
    page.section(
        "Meta-gradients",
        "The gradient of the distance from the target with respect to the optimizer's parameters, through unrolls of"
        " growing length. It is bounded where the radius is below 1 and explodes as T rho^T above: an unstable"
        " optimizer cannot be meta-trained by its own gradients.",
    )
    page.picture(pictures.meta_gradients(growth))
    rows = [[radius, f"{growth['measured_growth'][radius]:.4f}"] for radius in growth["radii"] if float(radius) > 1]
    page.table(["spectral radius", "growth per step, measured"], rows)
    page.section(
        "Expected loss",
        "A nominal term and a learned block on the noisy quadratic: the recursion of second moments beside chains that"
        f" were run; they differ by at most {loss['largest_relative_difference']:.1%}.",
    )
    page.picture(pictures.expected_loss(loss))
    falls = ", ".join(f"{share:.0%} ({name})" for name, share in untrained["falls_share"].items())
    page.section(
        "Untrained optimizers on a network",
        f"Random meta-parameters train the suite's task {untrained['task']} for {untrained['steps']:,} steps, each a"
        f" world of its own. The loss falls in {falls} of them.",
    )
    page.picture(pictures.random_theta(untrained))


def _rivals(page: Page, curves: SuiteCurves) -> None:
    pairs = _pairs(curves)
    if not pairs:
        return
    page.section(
        "STAR beside its rivals",
        "Final losses of learned optimizers, paired over seeds; both have no learning rate to choose.",
    )
    for one, other in pairs:
        rows = []
        for task in curves.suite.tasks:
            contest = curves.contest(task, one, other)
            losses = [final_loss(curves, task, name) for name in (one, other)]
            lower = ("cannot be told", shown(one), shown(other))[contest.clearly]
            rows.append([task, curves.kinships[task, one], *losses, between(contest), lower])
        wins, count = curves.wins(one, other)
        page.table(
            ["task", "its meta-training", shown(one), shown(other), "difference (95 %)", "lower"],
            rows,
            ours=[curves.contest(task, one, other).beats for task in curves.suite.tasks],
            caption=f"{shown(one)} ends lower on {wins} of {count} tasks (bold){in_groups(curves, one, other)}.",
        )
