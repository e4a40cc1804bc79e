"""The page and the result of an `evolution` run."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from shammie.files import write_bytes, write_json
from workflows import evolution_pictures as pictures
from workflows.dag import Running
from workflows.evolution_measures import (
    Biases,
    Curves,
    VarianceCurve,
    bias_of,
    curves_of,
    equal_steps,
    interval,
    results,
    variance_of,
)
from workflows.evolution_pictures import name_of
from workflows.evolution_settings import Bias, Settings
from workflows.provenance import shell_command
from workflows.report import Page
from workflows.sweep import read_table

TRUE_LORENZ = (10.0, 28.0)


def write(running: Running, settings: Settings) -> None:
    """Writes result.json and report.html."""
    curves = [curves_of(one, read_table(running.input(f"learn_{one.name}"))) for one in settings.comparisons]
    variances = [variance_of(one, read_table(running.input(f"variance_{one.name}"))) for one in settings.variances]
    biases = [(one, bias_of(one, read_table(running.input(f"bias_{one.name}")))) for one in settings.biases]
    write_json(running.path("result.json"), results(curves, variances, biases), sort_keys=False)
    write_bytes(running.path("report.html"), page(curves, variances, biases).render().encode())


def page(
    curves: Sequence[Curves],
    variances: Sequence[VarianceCurve],
    biases: Sequence[tuple[Bias, Biases]],
) -> Page:
    """The whole page."""
    runs = sum(len(found) for one in curves for found in one.runs.values())
    seeds = max((len(one.comparison.seeds) for one in curves), default=0)
    made = Page(
        "evolution: gradients of long computations, without going through them",
        f"{runs:,} runs of learning, {seeds} seed{'s' if seeds != 1 else ''} at most; estimators, problems and rates of"
        " arXiv:2304.12180 (noise-reuse evolution strategies, NRES) and its rivals.",
    )
    _numbers(made, curves, variances)
    for one in curves:
        _comparison(made, one)
    if variances:
        _variances(made, variances)
    for of, found in biases:
        _bias(made, of, found)
    _failed(made, curves, variances)
    made.section("Made by")
    made.command(shell_command())
    return made


def _numbers(made: Page, curves: Sequence[Curves], variances: Sequence[VarianceCurve]) -> None:
    out = []
    for one in curves:
        same = equal_steps(one)
        if same and not one.comparison.reward:
            text = f"seeds with NRES's loss below PES's at equal environment steps: {one.comparison.title}"
            out.append((f"{same.below} of {len(same.losses)}", text))
    for one in variances:
        apart = [abs(point.apart) for point in one.points if np.isfinite(point.apart)]
        if apart and one.exact:
            out.append((f"{max(apart):.1f}", "standard errors between measured and exact variance, at most"))
        if len(one.points) > 1:
            ratio = one.points[0].measured / one.points[-1].measured
            text = f"times NRES's variance is that of K = {one.points[0].reuse}: {one.variance.title}"
            out.append((f"{ratio:.1f}", text))
    if out:
        made.numbers(out[:6])


def _comparison(made: Page, one: Curves) -> None:
    comparison = one.comparison
    if not one.runs:
        return
    what = "reward" if comparison.reward else "loss"
    made.section(
        comparison.title,
        f"The {what} against all steps of trajectories that were made, burn-in included, and against those that had to"
        " follow each other: what a machine of any width has to wait for. Bands bound 95 % over seeds.",
    )
    if one.smoothed:
        of = "The loss averaged over perturbations, which is what evolution strategies descend."
        made.picture(pictures.learning(one), of)
        made.picture(pictures.learning(one, "loss"), "The loss of the parameters themselves.")
    else:
        made.picture(pictures.learning(one))
    first = comparison.run(next(iter(one.runs)), comparison.seeds[0])
    way = one.most_of_the_way()
    rows = []
    for arm, runs in one.runs.items():
        run = comparison.run(arm, comparison.seeds[0])
        last = interval([seen.shown[-1] for seen in runs.values()])
        rows.append(
            [
                name_of(arm),
                f"{run.learning_rate:g}",
                run.particles,
                f"{run.iterations:,}",
                _within(last, len(runs)),
                *([_within(interval([seen.loss[-1] for seen in runs.values()]), 1)] if one.smoothed else []),
                f"{int(one.steps(arm, 'environment_steps')[-1]):,}",
                *(_steps(one.steps_to(arm, which, way)) for which in pictures.STEPS),
            ]
        )
    smoothed = "smoothed " if one.smoothed else ""
    made.table(
        [
            "",
            f"{first.optimizer}'s rate",
            "N",
            "updates",
            f"last {smoothed}loss (95 %)",
            *(["unsmoothed"] if one.smoothed else []),
            "environment steps",
            "of them to 90 %",
            "sequential steps to 90 %",
        ],
        rows,
        ours=[arm == "nres" for arm in one.runs],
        caption=f"Windows of {first.window} steps, sigma {first.sigma:g}. 90 %: of the way from the first loss,"
        f" {one.first_loss():.4g}, to the lowest of all, {one.lowest_loss():.4g}.",
    )
    _equal(made, one)
    if comparison.problem == "lorenz":
        _lorenz(made, one)


def _equal(made: Page, one: Curves) -> None:
    same = equal_steps(one)
    if not same:
        return
    rows = [
        [seed, round(nres, 4), round(pes, 4), round(nres / pes, 3) if pes else None]
        for seed, (nres, pes) in same.losses.items()
    ]
    made.table(
        ["seed", "NRES", "PES", "NRES / PES"],
        rows,
        caption=f"Losses after {same.environment_steps:,} environment steps, the most that both have made.",
    )


def _lorenz(made: Page, one: Curves) -> None:
    rows = []
    for arm, runs in one.runs.items():
        thetas = np.array([run.theta for run in runs.values() if run.theta.size == 2])
        if thetas.size:
            with np.errstate(over="ignore"):
                found = np.exp(thetas)
            rows.append([name_of(arm), *(_within(interval(list(column)), len(found)) for column in found.T)])
    if rows:
        made.table(
            ["", "a found (95 %)", "r found (95 %)"],
            rows,
            ours=[row[0] == name_of("nres") for row in rows],
            caption="The true system has a = {:g} and r = {:g}.".format(*TRUE_LORENZ),
        )


def _variances(made: Page, variances: Sequence[VarianceCurve]) -> None:
    made.section(
        "Variance against K",
        "GPES draws a fresh perturbation every K steps of an episode: K = W is PES, K of an episode NRES. The trace of"
        " the covariance of one worker's estimate, at the parameters that learning starts from. Where losses are linear"
        " in the parameters the closed form is exact; elsewhere it is that of linear losses with the same derivatives.",
    )
    for one in variances:
        of = one.variance
        made.picture(
            pictures.variance(one),
            f"{of.title[:1].upper()}{of.title[1:]}: T = {of.horizon}, W = {of.window}, sigma = {of.sigma:g};"
            f" {of.episodes:,} episodes. An estimate of full ES takes {of.horizon // of.window} times the steps.",
        )
        columns, rows = ["", "measured", "standard error"], []
        columns += ["closed form"] * of.closed + ["standard errors apart"] * one.exact
        for point in [*one.points, *([one.full_es] if one.full_es else [])]:
            row: list[Any] = ["full ES" if point is one.full_es else f"K = {point.reuse}"]
            row += [f"{point.measured:.5g}", f"{point.error:.2g}"]
            row += [f"{point.closed:.5g}"] * of.closed + [round(point.apart, 2) + 0.0] * one.exact
            rows.append(row)
        made.table(columns, rows)


def _bias(made: Page, of: Bias, found: Biases) -> None:
    if not found:
        return
    made.section(
        "What truncation forgets",
        "Mean estimates of the gradient by the step size of gradient descent on a noisy quadratic, beside the exact"
        " gradient of the smoothed objective. Truncated ES sees what a perturbation does within its window alone; PES"
        " and NRES are unbiased.",
    )
    made.picture(pictures.bias(of, found), f"{of.episodes:,} episodes for each point.")
    rows = [
        [name_of(name), f"{point.log_rate:g}", f"{point.mean:.4g}", f"{point.error:.1g}", f"{point.exact:.4g}",
         round(point.apart, 1) + 0.0]
        for name, points in found.items()
        for point in points
    ]  # fmt: skip
    made.table(["", "ln of the step size", "mean estimate", "standard error", "exact", "standard errors apart"], rows)


def _failed(made: Page, curves: Sequence[Curves], variances: Sequence[VarianceCurve]) -> None:
    """What a reader would hope for and the numbers do not show."""
    lines = []
    for one in curves:
        same = equal_steps(one)
        if same and same.above:
            lines.append(
                f"{one.comparison.title}: after as many environment steps NRES's loss is above PES's in {same.above} of"
                f" {len(same.losses)} seeds, and below it in {same.below}."
            )
        for arm, runs in one.runs.items():
            if not all(np.isfinite(run.shown).all() for run in runs.values()):
                lines.append(f"{one.comparison.title}: {name_of(arm)} diverges with some seed.")
            missing = len(one.comparison.seeds) - len(runs)
            if missing:
                lines.append(f"{one.comparison.title}: {missing} runs of {name_of(arm)} failed.")
    for one in variances:
        measured = [point.measured for point in one.points]
        if any(later > earlier for earlier, later in itertools.pairwise(measured)):
            lines.append(f"Variance of {one.variance.title}: it does not fall with every larger K.")
        apart = [abs(point.apart) for point in one.points if np.isfinite(point.apart)]
        if apart and one.exact and max(apart) > 3:
            lines.append(f"Variance of {one.variance.title}: more than three standard errors from the closed form.")
    if lines:
        made.section("What does not show", "Where these runs do not show what one might hope for.")
        for line in lines:
            made.text(line, note=True)


def _within(found: Any, values: int) -> str | None:
    if not values or not np.isfinite(found.mean):
        return "not finite" if values else None
    mean = f"{found.mean:.4g}"
    text = f"{mean} ({found.low:.4g} to {found.high:.4g})" if values > 1 else mean
    return text.replace(" ", "\u00a0")


def _steps(count: float) -> str | None:
    return f"{int(count):,}" if np.isfinite(count) else None
