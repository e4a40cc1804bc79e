"""The pictures of an `in_context` page: matplotlib figures of numbers that `in_context_measures` has read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workflows.in_context_measures import Found, full_context, labels_of, over_seeds, shown_tasks, words_of
from workflows.in_context_settings import SEEN, UNSEEN
from workflows.report import new_figure

COLOURS = ("#0b6e8f", "#d9822b", "#7a4fa3", "#3b8f4a", "#b0413e", "#6b7178", "#c2a21a")
PHASES = {
    "diverged": "#b0413e",
    "untrained": "#e3e5e7",
    "memorises": "#d9b08c",
    "identifies": "#8fb8cc",
    "generalises": "#0b6e8f",
}


def phase_map(found: Sequence[Found], recipe: str) -> Any:
    """Two heat maps of learners, by width, against tasks: accuracy on seen and on unseen tasks, in per cent."""
    import matplotlib.pyplot as plt

    kept = [one for one in found if one.recipe == recipe]
    words = words_of([one.training.learner for one in kept])
    learners = sorted(words, key=lambda one: one.width)
    own_width = len({one.width for one in learners}) == len(learners)
    tasks = _in_order({one.tasks for one in kept})
    figure, _ = new_figure(9.0, 0.42 * len(learners) + 1.6)
    figure.clear()
    image: Any = None
    for place, (name, title) in enumerate(((SEEN, "seen tasks"), (UNSEEN, "unseen tasks"))):
        axes = figure.add_subplot(1, 2, place + 1)
        values = np.full((len(learners), len(tasks)), np.nan)
        for group in over_seeds(kept).values():
            at = learners.index(group[0].training.learner), tasks.index(group[0].tasks)
            values[at] = np.mean([one.last(name) for one in group])
        image = axes.imshow(values, vmin=0, vmax=1, cmap="YlGnBu", aspect="auto", origin="lower")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                ink = "white" if value > 0.55 else "#1c2024"
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=ink)
        axes.set_xticks(range(len(tasks)), [shown_tasks(one) for one in tasks])
        names = [str(one.width) if own_width else words[one] for one in learners]
        axes.set_yticks(range(len(learners)), names if own_width or not place else [""] * len(names))
        axes.set(title=title, xlabel="tasks in meta-training", ylabel="" if place or not own_width else "width")
    plt.colorbar(image, ax=figure.axes, label="accuracy after the full context", shrink=0.9)
    return figure


def phases_against(found: Sequence[Found]) -> Any:
    """A map of phases: one row for each recipe, and for each learner where there are several; tasks along it."""
    from matplotlib.patches import Patch

    tasks = _in_order({one.tasks for one in found})
    words = words_of([one.training.learner for one in found])
    named = lambda one: one.recipe if len(words) == 1 else f"{words[one.training.learner]}, {one.recipe}"  # noqa: E731
    rows = list(dict.fromkeys(map(named, found)))
    figure, axes = new_figure(9.0, 0.4 * len(rows) + 1.2)
    for group in over_seeds(found).values():
        one = group[0]
        at = tasks.index(one.tasks), rows.index(named(one))
        names = [each.phase for each in group]
        phase = max(names, key=names.count)
        axes.add_patch(_square(at, PHASES[phase]))
        text = f"{100 * np.mean([each.last(UNSEEN) for each in group]):.0f}"
        axes.text(
            *at, text, ha="center", va="center", fontsize=8, color="white" if phase == "generalises" else "#1c2024"
        )
    axes.set(xlim=(-0.5, len(tasks) - 0.5), ylim=(-0.5, len(rows) - 0.5), xlabel="tasks in meta-training")
    axes.set_xticks(range(len(tasks)), [shown_tasks(one) for one in tasks])
    axes.set_yticks(range(len(rows)), rows)
    there = {one.phase for one in found}
    handles = [Patch(color=colour, label=name) for name, colour in PHASES.items() if name in there]
    axes.legend(handles=handles, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=9)
    return figure


def _square(at: tuple[int, int], colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((at[0] - 0.48, at[1] - 0.46), 0.96, 0.92, color=colour, linewidth=0)


def seen_and_unseen(found: Sequence[Found]) -> Any:
    """Accuracy on seen and unseen tasks against their number, for the first recipe of the widest learner of a map."""
    widest = max((one.training.learner for one in found), key=lambda one: one.width)
    width, recipe = widest.width, found[0].recipe
    kept = [one for one in found if one.training.learner == widest and one.recipe == recipe]
    tasks = _in_order({one.tasks for one in kept})
    figure, axes = new_figure()
    for name, colour, label in ((SEEN, "#d9822b", "seen tasks"), (UNSEEN, "#0b6e8f", "unseen tasks")):
        values = [[100 * one.last(name) for one in kept if one.tasks == count] for count in tasks]
        mean = [np.mean(one) for one in values]
        axes.plot(range(len(tasks)), mean, "o-", color=colour, label=label)
        axes.fill_between(
            range(len(tasks)), [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15
        )
    axes.axhline(100 / kept[0].training.learner.classes, color="#9aa1a8", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(tasks)), [shown_tasks(one) for one in tasks])
    axes.set(xlabel=f"tasks in meta-training (width {width})", ylabel="accuracy (%)", ylim=(0, 100))
    axes.legend(frameon=False)
    return figure


def plateaus(found: Sequence[Found], half: float) -> Any:
    """Full-context accuracy on unseen tasks over meta-training, a line for each row of a grid, a band over seeds."""
    figure, axes = new_figure()
    labels = labels_of(found)
    for place, (row, group) in enumerate(over_seeds(found).items()):
        curves = np.array([[full_context(row) for row in one.accuracy[UNSEEN]] for one in group]) * 100
        steps = group[0].at_steps
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(steps, curves.mean(axis=0), color=colour, label=labels[row])
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.axhline(100 * half, color="#9aa1a8", linewidth=1, linestyle=":")
    axes.set(xlabel="steps of meta-training", ylabel="accuracy on unseen tasks (%)", ylim=(0, 100))
    axes.legend(frameon=False, ncols=2, fontsize=9)
    return figure


def sizes(found: Sequence[Found]) -> Any:
    """Accuracy on unseen tasks against accessible state and against parameters."""
    figure, _ = new_figure(9.0, 3.6)
    figure.clear()
    kinds = list(dict.fromkeys(one.training.learner.kind for one in found))
    for place, (label, value) in enumerate(
        (("accessible state (floats)", lambda one: one.state_size), ("parameters", lambda one: one.parameters))
    ):
        axes = figure.add_subplot(1, 2, place + 1, facecolor="none")
        for kind, colour in zip(kinds, COLOURS, strict=False):
            kept = [one for one in found if one.training.learner.kind == kind]
            axes.semilogx([value(one) for one in kept], [100 * one.last(UNSEEN) for one in kept], "o", color=colour,
                          label=kind.replace("_", " "), alpha=0.8)  # fmt: skip
        axes.set(xlabel=label, ylabel="" if place else "accuracy on unseen tasks (%)", ylim=(0, 100))
    figure.axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.subplots_adjust(wspace=0.18)
    return figure


def by_position(curves: Mapping[str, Sequence[float]], ours: str, classes: int) -> Any:
    """Accuracy at each position of a context, a line for each name; ours stands out."""
    figure, axes = new_figure()
    for place, (name, curve) in enumerate(curves.items()):
        own = name == ours
        style: Any = {"color": "#0b6e8f", "linewidth": 2.4} if own else {"color": COLOURS[(place + 1) % len(COLOURS)]}
        axes.plot(np.arange(len(curve)), 100 * np.asarray(curve), label=name.replace("_", " "), **style)
    axes.axhline(100 / classes, color="#9aa1a8", linewidth=1, linestyle=":")
    axes.set(xlabel="examples seen", ylabel="accuracy (%)", ylim=(0, 102))
    axes.legend(frameon=False, ncols=2, fontsize=9)
    return figure


def _in_order(tasks: set[int]) -> list[int]:
    return sorted(tasks, key=lambda count: count or float("inf"))
