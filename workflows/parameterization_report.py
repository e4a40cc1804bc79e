"""The page and the result of a `parameterization` run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.parameterization import ALIGNMENTS
from shammie.files import write_bytes, write_json
from workflows import parameterization_pictures as pictures
from workflows.dag import Running
from workflows.parameterization_measures import (
    Curves,
    Looked,
    curves_of,
    interval,
    looked_of,
    predicted_exponent,
    results,
)
from workflows.parameterization_pictures import NAMES, VARIANT_NAMES
from workflows.parameterization_settings import GLOBAL, Settings
from workflows.provenance import shell_command
from workflows.report import Page
from workflows.sweep import read_table

NO_BREAK = "\u00a0"  # a space that no line ends at


def write(running: Running, settings: Settings) -> None:
    """Writes result.json and report.html."""
    curves = [curves_of(sweep, read_table(running.input(f"sweep_{sweep.name}"))) for sweep in settings.sweeps]
    looks = [looked_of(look, read_table(running.input(f"look_{look.name}"))) for look in settings.looks]
    write_json(running.path("result.json"), results(curves, looks), sort_keys=False)
    write_bytes(running.path("report.html"), _page(curves, looks).render().encode())


def _page(curves: Sequence[Curves], looks: Sequence[Looked]) -> Page:
    cells = sum(one.cells for one in curves)
    seeds = max(len(one.sweep.seeds) for one in curves)
    page = Page(
        "parameterization: learning rates that hold at every width",
        f"{cells:,} trainings of small models, {seeds} seed{'s' if seeds > 1 else ''}; parameterizations, optimizers"
        " and alignment of arXiv:2407.05872, on English prose in 32 symbols.",
    )
    page.numbers(_numbers(curves))
    _transfer(page, curves)
    _exponents(page, curves)
    _best(page, curves)
    for looked in looks:
        _looked(page, looked)
    _failed(page, curves)
    page.section("Made by")
    page.command(shell_command())
    return page


def _numbers(curves: Sequence[Curves]) -> list[tuple[str, str]]:
    out = []
    for one in curves:
        widths = one.sweep.sizes.widths
        span = f"{widths[0]} to {widths[-1]}"
        if "standard" not in one.sweep.parameterizations:
            continue
        for variant, what in (("full", "each layer's own rate"), (GLOBAL, "one rate")):
            moved = one.steps_moved("standard", variant) if variant in one.sweep.variants else None
            if moved is not None:
                text = f"steps that the best learning rate moved, width {span}: {one.sweep.name}, Standard, {what}"
                out.append((f"{moved:.0f}", text))
    return out[:6]


def _transfer(page: Page, curves: Sequence[Curves]) -> None:
    page.section(
        "Learning-rate transfer",
        "The final loss against the learning rate, which is that of the smallest width: rates by layer are scaled from"
        " there. Where lines of all widths have their lowest point (circles) at the same place, a rate that was tuned"
        " small is right large. With one rate for all layers the lowest points wander. Thin lines are seeds; what did"
        " not stay finite, or lies far above, is not shown.",
    )
    for one in curves:
        sweep = one.sweep
        page.picture(pictures.transfer(one), f"{sweep.name}: {sweep.optimizer}, {sweep.steps:,} steps.")


def _exponents(page: Page, curves: Sequence[Curves]) -> None:
    page.section(
        "Fitted and predicted exponents",
        "How the best learning rate falls with the width, fitted over all widths by seed, beside what theory has if"
        " updates and activations are in truth aligned in full, or not at all. For rates by layer under full alignment"
        " it is 0: nothing is left to scale. Bars bound 95 % over seeds; a cross marks a best rate at the end of those"
        " tried, where the fit says little.",
    )
    if any(one.exponents(*place[:2]) for one in curves for place in one.sweep.places()):
        page.picture(pictures.fitted_against_predicted(curves))
    rows = []
    for one in curves:
        for parameterization in one.sweep.parameterizations:
            for variant in one.sweep.variants:
                fitted = one.exponents(parameterization, variant)
                found, moved = interval(fitted), one.steps_moved(parameterization, variant)
                predicted = _predicted(one, parameterization, variant)
                name = f"{one.sweep.name}: {NAMES[parameterization]}, {VARIANT_NAMES[variant]}"
                edge = "yes" if one.at_edge(parameterization, variant) else ""
                rows.append([name, *predicted, _within(found, len(fitted)), moved, edge])
    page.table(
        ["", "predicted, full", "predicted, none", "fitted e (95 %)", "grid steps moved", "best at an end"],
        rows,
        ours=["Standard, by layer, full" in str(row[0]) for row in rows],
        caption="Grid steps: how far apart the best learning rates of the widths are, on the mean curve over seeds.",
    )


def _predicted(one: Curves, parameterization: str, variant: str) -> tuple[float, float]:
    """The exponents that theory has if alignment is full, and if there is none."""
    full, none = (predicted_exponent(parameterization, one.sweep.optimizer, variant, truth) for truth in ALIGNMENTS)
    return full, none


def _within(found: Any, values: int, digits: int = 2) -> str | None:
    if not values or not np.isfinite(found.mean):
        return None
    mean = f"{found.mean:.{digits}f}"
    between = f"{mean} ({found.low:.{digits}f} to {found.high:.{digits}f})" if values > 1 else mean
    return between.replace(" ", NO_BREAK)


def _best(page: Page, curves: Sequence[Curves]) -> None:
    page.section(
        "Best loss",
        "At each width's own best learning rate: what tuning could reach at most, and what a parameterization is worth"
        " beyond transfer.",
    )
    page.picture(pictures.best_losses(curves))
    rows = []
    for one in curves:
        sweep = one.sweep
        if not ({"standard", "mup"} <= {*sweep.parameterizations} and "full" in sweep.variants):
            continue
        for width in sweep.sizes.widths[1:]:
            differences = one.difference(("standard", "full"), ("mup", "full"), width)
            losses = [interval(one.best_loss(name, "full", width)).mean for name in ("standard", "mup")]
            found = interval(differences)
            verdict = "" if len(differences) < 2 else _verdict(found)
            rows.append(
                [sweep.name, width, *(round(x, 4) for x in losses), _within(found, len(differences), 4), verdict]
            )
    if rows:
        page.table(
            ["", "width", "Standard, nats", "muP, nats", "muP - Standard (95 %)", "lower loss"],
            rows,
            caption="Both with each layer's own rates for full alignment; differences are paired over seeds.",
        )


def _verdict(found: Any) -> str:
    return "Standard" if found.low > 0 else "muP" if found.high < 0 else "cannot be told"


def _looked(page: Page, looked: Looked) -> None:
    look = looked.look
    optimizers = [one for one in look.log2_learning_rates if any(place[0] == one for place in looked.rows)]
    page.section(
        f"Coordinate check: {look.name}",
        "How far each layer's output moves if that layer alone takes its first step, on that step's batch. Flat is"
        " right. A first step is aligned with its own batch in full, so rates for no alignment must rise here, by the"
        " square root of the width: that they fail is expected.",
    )
    for optimizer in optimizers:
        page.picture(pictures.coordinates(looked, optimizer), f"{optimizer}; mean over {len(look.seeds)} seed(s).")
    rows = []
    for optimizer, parameterization, variant in dict.fromkeys(place[:3] for place in looked.rows):
        slopes = looked.slopes("alone_rms", (optimizer, parameterization, variant))
        worst = max(slopes.values(), key=abs)
        name = f"{optimizer}: {NAMES[parameterization]}, {VARIANT_NAMES[variant]}"
        ends = list(slopes.values())
        # + 0.0: no -0
        rows.append([name, *(round(one, 2) + 0.0 for one in (ends[0], ends[-1], worst))])
    page.table(
        ["slope of log change over log width", "first layer", "readout", "the largest of all"],
        rows,
        caption="0 is flat.",
    )
    adam = [one for one in optimizers if one.startswith("adam")]
    if adam and next(iter(looked.rows.values()))[0]["below"].size:
        page.section(
            f"What epsilon swallows: {look.name}",
            "The share of a parameter's entries whose root of the second moment is below epsilon: Adam's step is"
            " shorter there than it should be. Gradients of some parameterizations shrink with the width, and run into"
            f" epsilon there; the dotted line is the {look.sizes.eps:g} of these runs.",
        )
        page.picture(pictures.epsilon_map(looked, adam[0], look.variants[0]))
    page.section(
        f"Alignment over time: {look.name}",
        f"The log alignment ratio of each layer at width {look.sizes.widths[-1]}: 1/2 where a product adds up like"
        " independent numbers, 1 where all terms agree. Theory's exponents assume one or the other; measured, it"
        " lies between and moves.",
    )
    for optimizer in adam[:1] or optimizers[:1]:
        page.picture(pictures.alignment(looked, optimizer, look.variants[0]), f"{optimizer}, {look.variants[0]}.")


def _failed(page: Page, curves: Sequence[Curves]) -> None:
    """What a reader would hope for and the numbers do not show."""
    lines = []
    for one in curves:
        for parameterization in one.sweep.parameterizations:
            name = f"{one.sweep.name}, {NAMES[parameterization]}"
            if "full" in one.sweep.variants:
                moved = one.steps_moved(parameterization, "full")
                if moved is None or moved > 1:
                    lines.append(
                        f"{name}: with each layer's own rates the best one moves by {moved} steps of the grid."
                    )
            if GLOBAL in one.sweep.variants and len(fitted := one.exponents(parameterization, GLOBAL)) > 1:
                full, none = _predicted(one, parameterization, GLOBAL)
                found = interval(fitted)
                if not found.low <= full <= found.high:
                    between = "between them" if found.high > none and found.low < full else "outside of both"
                    lines.append(
                        f"{name}: with one rate the exponent is {_within(found, len(fitted))}. Full alignment predicts"
                        f" {full:g}, none {none:g}: it is {between}."
                    )
    if lines:
        page.section("What does not show", "Where these runs do not show what theory has.")
        for line in lines:
            page.text(line, note=True)
