"""The page and the result of an `in_context` run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.in_context.learner_config import LearnerConfig
from shammie.files import copy, join, read_json, write_bytes, write_json
from workflows import in_context_pictures as pictures
from workflows.dag import Running
from workflows.in_context_measures import (
    Found,
    baselines_of,
    found_of,
    full_context,
    half_way,
    labels_of,
    over_seeds,
    shown_tasks,
    word,
    words_of,
)
from workflows.in_context_settings import SEEN, SEEN_IMAGES, UNSEEN, Grid
from workflows.in_context_steps import CURVE, LEARNER, SCORES
from workflows.report import Page
from workflows.sweep import read_table

if TYPE_CHECKING:
    from workflows.in_context import Settings

NEAREST = "nearest_neighbour"


def write(running: Running, settings: "Settings") -> None:
    """Writes result.json, report.html and, where there is one, learner.bin."""
    grids = {
        grid.name: (grid, found_of(settings, grid, read_table(running.input(f"grid_{grid.name}"))))
        for grid in settings.grids
    }
    baselines = baselines_of(read_table(running.input("baselines"))) if settings.baselines else {}
    judged = _judged_scores(running, settings) if settings.learner else {}
    page = Page(
        "in_context: learning to learn from examples",
        "Networks that read labelled examples of a task they never saw, and label the next one: when meta-training"
        " makes them memorise tasks, recognise them, or learn (GPICL, arXiv:2212.04458).",
    )
    page.numbers(_numbers(settings, judged, grids, baselines))
    for grid, found in grids.values():
        if found and grid.role == "phase":
            _phase(page, grid, found)
    for grid, found in grids.values():
        if found and grid.role == "plateau":
            _plateau(page, grid, found, baselines)
    for grid, found in grids.values():
        if found and grid.role == "state":
            _states(page, grid, found, baselines)
    if judged:
        _judged(page, settings, judged, baselines)
    result = results(settings, grids, judged, baselines)
    if settings.learner:
        for name in (LEARNER, CURVE):
            copy(join(running.input("judged"), name), running.path(name))
    write_json(running.path("result.json"), result, sort_keys=False)
    write_bytes(running.path("report.html"), page.render().encode())


def _judged_scores(running: Running, settings: "Settings") -> dict[str, Any]:
    """The kept learner's scores by evaluation, what is unseen first."""
    scores = read_json(join(running.input("judged"), SCORES))
    names = [one.name for one in settings.evaluations(settings.tasks, everything=True)]
    return {name: scores[name] for name in (*names[2:], *names[:2])}


def results(
    settings: "Settings",
    grids: Mapping[str, tuple[Grid, Sequence[Found]]],
    judged: Mapping[str, Any],
    baselines: Mapping[tuple[str, str, int], np.ndarray],
) -> dict[str, Any]:
    """The flat result. Accuracies are of the full context (the last tenth of its positions), from 0 to 1.

    - learner_EVALUATION, learner_first_EVALUATION: the kept learner's, and its accuracy on a context's first example;
      learner_nats_first_unseen: its loss there, where ln C is chance.
    - learner_of_nearest_EVALUATION: as a share of the nearest neighbour's on the same contexts.
    - BASELINE_EVALUATION: a baseline's, for contexts of the kept learner's length.
    - GRID_LEARNER_TASKS_RECIPE_unseen: the mean over seeds; ..._seen and ..._gap, seen less unseen, where the seen
      tasks are those that the training met. LEARNER is of `words_of`, so that no two rows of a grid share a key.
    - GRID_LEARNER_TASKS_RECIPE_steps_to_half, ..._least, ..._most: of a plateau grid, until half way from chance to the
      nearest neighbour on unseen tasks; None where a seed never comes there.
    - GRID_LEARNER_state_size, GRID_LEARNER_parameters: of a state grid.
    """
    out: dict[str, Any] = {}
    length = settings.learner.examples if settings.learner else 0
    for name, score in judged.items():
        out[f"learner_{name}"] = full_context(np.asarray(score["accuracy"]))
        out[f"learner_first_{name}"] = score["accuracy"][0]
        nearest = baselines.get((NEAREST, name, length))
        if nearest is not None:
            out[f"learner_of_nearest_{name}"] = out[f"learner_{name}"] / full_context(nearest)
    if judged:
        out["learner_nats_first_unseen"] = judged[UNSEEN]["nats"][0]
    for (baseline, name, examples), curve in baselines.items():
        if examples == length:
            out[f"{baseline}_{name}"] = full_context(curve)
    for grid, found in grids.values():
        words = words_of([one.training.learner for one in found])
        for (learner, tasks, recipe), group in over_seeds(found).items():
            key = f"{grid.name}_{words[learner]}_{tasks or 'endless'}_{recipe}"
            seen, unseen = (float(np.mean([one.last(name) for one in group])) for name in (SEEN, UNSEEN))
            out[f"{key}_unseen"] = unseen
            if group[0].met:
                out |= {f"{key}_seen": seen, f"{key}_gap": seen - unseen}
            if grid.role == "plateau":
                half = _half(learner, baselines)
                steps = [one.steps_to(half) for one in group]
                reached = np.isfinite(steps).all()
                name = f"{key}_steps_to_half"
                out |= {
                    name: float(np.mean(steps)) if reached else None,
                    f"{name}_least": min(steps) if np.isfinite(min(steps)) else None,
                    f"{name}_most": max(steps) if reached else None,
                }
            if grid.role == "state":
                out[f"{grid.name}_{words[learner]}_state_size"] = group[0].state_size
                out[f"{grid.name}_{words[learner]}_parameters"] = group[0].parameters
    return out


def _half(learner: LearnerConfig, baselines: Mapping[tuple[str, str, int], np.ndarray]) -> float:
    nearest = baselines.get((NEAREST, UNSEEN, learner.examples))
    if nearest is None:
        return 0.5
    return half_way(nearest, learner.classes)


def _many(tasks: int) -> str:
    return shown_tasks(tasks) if tasks else "endlessly many"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _spread(values: Sequence[float]) -> str:
    """Their mean in per cent, and the range where there are several."""
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.0f} to {100 * max(values):.0f})"


def _numbers(settings: "Settings", judged: Any, grids: Any, baselines: Any) -> list[tuple[str, str]]:
    out = []
    if judged:
        unseen = full_context(np.asarray(judged[UNSEEN]["accuracy"]))
        chance = f"chance {100 / settings.learner.classes:.0f} %" if settings.learner else ""
        out.append((_percent(unseen), f"of labels right on unseen tasks after the full context ({chance})"))
        nearest = baselines.get((NEAREST, UNSEEN, settings.learner.examples if settings.learner else 0))
        if nearest is not None:
            out.append((f"{unseen / full_context(nearest):.2f} x", "the nearest neighbour's, on the same contexts"))
    for grid, found in grids.values():
        if grid.role != "phase" or not found:
            continue
        widest = max(one.training.learner.width for one in found)
        kept = [one for one in found if one.training.learner.width == widest]
        ordered = sorted(kept, key=lambda one: one.tasks or float("inf"))
        few, many = ordered[0], ordered[-1]
        gap = lambda one: f"{100 * (one.last(SEEN) - one.last(UNSEEN)):.0f} points"  # noqa: E731
        out.append((gap(few), f"between seen and unseen tasks, trained on {_many(few.tasks)} ({grid.name})"))
        out.append((gap(many), f"the same, trained on {_many(many.tasks)}"))
        break
    return out


def _phase(page: Page, grid: Grid, found: Sequence[Found]) -> None:
    page.section(
        f"Phase map: {grid.name}",
        "Few tasks are memorised; some are recognised from their examples; with many, the learner learns from examples"
        " of tasks it never saw. Seen tasks are some that a training met; unseen ones come with the same images."
        " Accuracy is of the last tenth of a context, on held-out images; each cell is a"
        f" meta-training of {grid.steps:,} steps, the mean of {len(grid.seeds)} seed(s).",
    )
    if len({one.training.learner.width for one in found}) > 1:
        for recipe in grid.recipes:
            page.picture(pictures.phase_map(found, recipe.name), _recipe(recipe))
        page.picture(pictures.seen_and_unseen(found), "The widest learner; bands are the range over seeds.")
    if len(grid.recipes) > 1:
        page.picture(
            pictures.phases_against(found),
            "Phases by colour; the number is the accuracy on unseen tasks in per cent.",
        )
    rows = []
    words = words_of([one.training.learner for one in found])
    for (learner, tasks, recipe), group in over_seeds(found).items():
        values = [_spread([one.last(name) for one in group]) for name in (SEEN, SEEN_IMAGES, UNSEEN)]
        phases = [one.phase for one in group]
        rows.append([words[learner], shown_tasks(tasks), recipe, *values, max(phases, key=phases.count)])
    columns = ["learner", "tasks", "recipe", "seen tasks (%)", "with seen images (%)", "unseen tasks (%)", "phase"]
    page.table(columns, rows, ours=[row[-1] == "generalises" for row in rows], caption="Bold: generalises.")


def _recipe(recipe: Any) -> str:
    told = [f"learning rate {recipe.learning_rate:g}", f"{recipe.batch} contexts a step"]
    if recipe.two_class_share:
        told.append(f"{recipe.two_class_share:.0%} of them of two classes")
    if recipe.biased_share:
        told.append(f"{recipe.biased_share:.0%} with one fixed permutation")
    if recipe.curriculum_from:
        told.append(f"tasks doubled from {recipe.curriculum_from} on")
    return f"Recipe {recipe.name}: {', '.join(told)}."


def _plateau(page: Page, grid: Grid, found: Sequence[Found], baselines: Any) -> None:
    half = _half(found[0].training.learner, baselines)
    page.section(
        f"The plateau, and what shortens it: {grid.name}",
        "A learner stays at chance for long before it learns to learn. Dotted: half way from chance to the nearest"
        f" neighbour, {100 * half:.0f} %.",
    )
    page.picture(pictures.plateaus(found, half), "Means and ranges over seeds.")
    recipes = {recipe.name: recipe for recipe in grid.recipes}
    rows = []
    labels = labels_of(found)
    for (learner, tasks, recipe), group in over_seeds(found).items():
        steps = [one.steps_to(_half(learner, baselines)) for one in group]
        shown = " ".join(f"{step:,.0f}" if np.isfinite(step) else "never" for step in steps)
        mean = f"{np.mean(steps):,.0f}" if np.isfinite(steps).all() else "not by all"
        about = _recipe(recipes[recipe]).partition(": ")[2]
        shifted = "yes" if learner.shifted else "no"
        end = _spread([one.last(UNSEEN) for one in group])
        rows.append([labels[learner, tasks, recipe], about, shifted, mean, shown, end])
    columns = ["trained", "what it is", "reads the example before", "steps to half", "each seed", "at the end (%)"]
    page.table(columns, rows)


def _states(page: Page, grid: Grid, found: Sequence[Found], baselines: Any) -> None:
    page.section(
        f"State against parameters: {grid.name}",
        "What a learner can keep of a context, its accessible state, against its number of parameters (§4.3). A"
        " Transformer's state is its keys and values, which grow with the context; a recurrent one's is fixed.",
    )
    page.picture(pictures.sizes(found))
    names = list(found[0].accuracy)[2:]
    rows = []
    labels = labels_of(found)
    for row, group in over_seeds(found).items():
        scores = [_spread([one.last(name) for one in group]) for name in names]
        rows.append([labels[row], f"{group[0].state_size:,}", f"{group[0].parameters:,}", *scores])
    examples = found[0].training.learner.examples
    for baseline in sorted({key[0] for key in baselines}):
        told = [baselines.get((baseline, name, examples)) for name in names]
        rows.append([baseline, "", "", *("" if one is None else f"{100 * full_context(one):.1f}" for one in told)])
    page.table(["learner", "state (floats)", "parameters", *(f"{name} (%)" for name in names)], rows)


def _judged(page: Page, settings: "Settings", judged: Any, baselines: Any) -> None:
    learner = settings.learner
    assert learner is not None
    page.section(
        "The learner that was kept",
        f"{word(learner)}, trained for {settings.steps:,} steps on {_many(settings.tasks)} tasks over"
        f" {settings.data} by the bundled trainer; {settings.contexts} contexts of each kind. A general learner is as"
        " good under rotations (orthogonal) as under the projections it was trained on, and at chance where labels"
        " say nothing (shuffled).",
    )
    length = learner.examples
    curves = {word(learner): judged[UNSEEN]["accuracy"]}
    for baseline in settings.baselines:
        if (baseline, UNSEEN, length) in baselines:
            curves[baseline] = baselines[baseline, UNSEEN, length]
    page.picture(
        pictures.by_position(curves, word(learner), learner.classes), "Unseen tasks over held-out images, by position."
    )
    rows = []
    for name, score in judged.items():
        told = [full_context(np.asarray(score["accuracy"])), score["accuracy"][0]]
        others = [baselines.get((baseline, name, length)) for baseline in settings.baselines]
        shown = ["" if one is None else f"{100 * full_context(one):.1f}" for one in others]
        rows.append([name.replace("_", " "), *(f"{100 * value:.1f}" for value in told), *shown])
    columns = [
        "contexts",
        "full context (%)",
        "first example (%)",
        *(one.replace("_", " ") for one in settings.baselines),
    ]
    page.table(columns, rows, ours=[row[0] == UNSEEN for row in rows])
    page.command("shammie in-context predict --learner OUT/report-*/learner.bin --train examples.csv --test new.csv")
