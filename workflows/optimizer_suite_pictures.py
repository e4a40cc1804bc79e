"""The pictures and tables of the optimizer benchmark, as sections of a report."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.learned_optimizers.suite import ADAM
from workflows.meta_training import Point
from workflows.optimizer_suite_measures import KINSHIPS, Contest, SuiteCurves
from workflows.parameterization_pictures import panels
from workflows.report import Page, new_figure

LEARNED_COLOURS = ("#0b6e8f", "#d9822b", "#5b8c3a", "#8a4f9e", "#b33a3a", "#2f4b7c")
BASELINE_COLOURS = {
    "adam": "#1c2024",
    "nadamw": "#6b7178",
    "muon": "#a68a2a",
    "adafactor": "#8d9aa6",
    "momentum": "#b9c0c6",
}
NAMES = {"adam": "Adam", "nadamw": "NAdamW", "muon": "Muon", "adafactor": "Adafactor", "momentum": "SGD, momentum"}
COLUMNS = 3


def shown(name: str) -> str:
    """An optimizer's name for people."""
    return NAMES.get(name, name.replace("_", " "))


def colour(curves: SuiteCurves, name: str) -> str:
    """An optimizer's colour in all pictures."""
    if name in curves.learned:
        return LEARNED_COLOURS[list(curves.learned).index(name) % len(LEARNED_COLOURS)]
    return BASELINE_COLOURS.get(name, "#b9c0c6")


def add_suite(page: Page, curves: SuiteCurves) -> None:
    """The benchmark's sections: the contest with Adam, speedups, curves."""
    suite = curves.suite
    page.section(
        "Against Adam of the best learning rate",
        f"Final losses after {suite.steps:,} steps (the mean of the last tenth), over {len(suite.seeds)} seeds; a seed"
        " is a world of its own, with the same first parameters and batches for every optimizer. Adam, as every"
        f" baseline, has the learning rate of the lowest mean among those tried ({len(suite.rates[ADAM])}), chosen on"
        " these same seeds, which the intervals leave out: it flatters Adam a little. A learned optimizer has none to"
        " choose.",
    )
    for name in curves.learned:
        rows = []
        for task in suite.tasks:
            contest = curves.contest(task, name)
            verdict = ("cannot be told", "lower", "higher")[contest.clearly]
            losses = [final_loss(curves, task, one) for one in (name, ADAM)]
            rows.append([task, curves.kinships[task, name], *losses, between(contest), verdict])
        wins, count = curves.wins(name)
        page.table(
            [shown(name), "its meta-training", "its loss", "Adam's", "Adam's - its (95 %)", "its loss is"],
            rows,
            ours=[curves.contest(task, name).beats for task in suite.tasks],
            caption=f"{shown(name)} ends lower on {wins} of {count} tasks (bold){in_groups(curves, name, ADAM)}.",
        )
    page.section(
        "Speedup over tuned Adam",
        "How many steps Adam, of whichever learning rate is the best at that step, takes to the loss that an optimizer"
        f" has after {suite.steps:,} steps, over {suite.steps:,}: VeLO's score, with its smoothing. Adam trained"
        f" {suite.adam_factor} times as long; where that was not enough the score is at least {suite.adam_factor}.",
    )
    page.picture(speedups(curves))
    page.section(
        "Curves",
        "Losses of fresh batches, so held-out ones; each optimizer at its best learning rate, the mean over seeds and"
        " its 95 % interval for Adam and the learned ones.",
    )
    page.picture(loss_curves(curves))


def in_groups(curves: SuiteCurves, optimizer: str, against: str) -> str:
    """How many of a contest's tasks it wins among those it was meta-trained on and others; "" where not known."""
    parts = []
    for word, text in (("trained_on", "that it was meta-trained on"), ("held_out", "others")):
        wins, count = curves.wins(optimizer, against, *KINSHIPS[word])
        if count:
            parts.append(f"on {wins} of {count} {text}")
    return f": {', '.join(parts)}" if parts else ""


def final_loss(curves: SuiteCurves, task: str, optimizer: str) -> str:
    """A mean final loss for a table."""
    loss = curves.finals_S(task, optimizer).mean()
    return f"{loss:.4f}" if np.isfinite(loss) else "diverged"


def between(contest: Contest) -> str:
    """A difference with its bounds for a table."""
    found = contest.difference
    return f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})" if np.isfinite(found.mean) else "diverged"


def speedups(curves: SuiteCurves) -> Any:
    """A table of colours: speedups by task and optimizer."""
    tasks, names = list(curves.suite.tasks), curves.optimizers
    values = np.array([[curves.speedup(task, name) for task in [*tasks]] for name in names])
    values = np.column_stack([values, np.median(values, axis=1)])
    figure, axes = new_figure(2.6 + 0.72 * (len(tasks) + 1), 1.3 + 0.36 * len(names))
    most = np.log2(max(2.0, curves.suite.adam_factor))
    shades = np.log2(np.maximum(values, 2.0**-most))
    picture = axes.imshow(shades, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for row, name in enumerate(names):
        for column, value in enumerate(values[row]):
            bound = column < len(tasks) and curves.at_least(tasks[column], name)
            strong = abs(np.log2(max(value, 1e-9))) > 0.6 * most
            text = f"{'≥' if bound else ''}{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if strong else "#1c2024")
    axes.set_xticks(
        range(len(tasks) + 1), [*(task.replace("_", " ") for task in tasks), "median"], rotation=35, ha="right"
    )
    axes.set_yticks(range(len(names)), [shown(name) for name in names])
    axes.axvline(len(tasks) - 0.5, color="white", lw=3)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(picture, ax=axes, label="log2 of the speedup", fraction=0.03, pad=0.02)
    return figure


def loss_curves(curves: SuiteCurves) -> Any:
    """Loss against steps, a panel for each task."""
    from matplotlib.ticker import NullFormatter
    from scipy.special import stdtrit

    tasks = list(curves.suite.tasks)
    columns = min(COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = panels(rows, columns, width=9.4, height=0.6 + 2.3 * rows, sharex=True)
    steps_P = curves.steps_P(curves.points)
    seeds = len(curves.suite.seeds)
    for one, task in zip(axes.flat, tasks, strict=False):
        lowest, first = np.inf, 0.0
        for name in reversed(curves.optimizers):
            curve_SP = _averaged(curves.curve_SP(task, name))
            mean_P = curve_SP.mean(axis=0)
            if not np.isfinite(mean_P).all():
                continue
            learned = name in curves.learned
            shade = colour(curves, name)
            width = 1.8 if learned else 1.5 if name == ADAM else 0.9
            one.plot(steps_P, mean_P, color=shade, lw=width, label=shown(name), zorder=3 if learned else 2)
            if seeds > 1 and (learned or name == ADAM):
                half_P = stdtrit(seeds - 1, 0.975) * curve_SP.std(axis=0, ddof=1) / np.sqrt(seeds)
                one.fill_between(steps_P, mean_P - half_P, mean_P + half_P, color=shade, alpha=0.12, lw=0)
            lowest, first = min(lowest, mean_P.min()), max(first, mean_P[0]) if name == ADAM else first
        one.set_title(task.replace("_", " "), fontsize=10)
        one.set_xscale("log")
        one.xaxis.set_minor_formatter(NullFormatter())
        if np.isfinite(lowest):
            one.set_ylim(lowest - 0.05 * (first - lowest), first * 1.02)
    for one in axes[:, 0]:
        one.set_ylabel("loss")
    for one in axes[-1]:
        one.set_xlabel("step")
    for one in list(axes.flat)[len(tasks) :]:
        one.set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], frameon=False, loc="center left", bbox_to_anchor=(0.99, 0.5), fontsize=8)
    figure.tight_layout()
    return figure


def _averaged(losses_SP: np.ndarray) -> np.ndarray:
    """Running means over 5 points, for the eye; the ends over fewer."""
    kernel = np.ones(min(5, losses_SP.shape[1]))
    weight = np.convolve(np.ones(losses_SP.shape[1]), kernel, "same")
    return np.array([np.convolve(one, kernel, "same") for one in losses_SP]) / weight


def meta_curves(curves: Mapping[str, Sequence[Point]]) -> Any:
    """Meta-training: the mean loss of trainings against the steps that they made.

    Args:
        curves: name -> `workflows.meta_training.read_curve`.
    """
    figure, axes = new_figure(8.0, 3.2)
    for shade, (name, points) in zip(LEARNED_COLOURS, curves.items(), strict=False):
        axes.plot(
            [p.environment_steps for p in points], [p.loss for p in points], color=shade, lw=1.5, label=shown(name)
        )
        starts = [b.environment_steps for a, b in itertools.pairwise(points) if b.phase != a.phase]
        for start in starts:
            axes.axvline(start, color=shade, lw=0.8, ls=":")
    axes.set_xlabel("steps of trainings (dotted: a new phase)")
    axes.set_ylabel("mean loss under perturbed theta\n1: where trainings begin")
    axes.legend(frameon=False)
    return figure
