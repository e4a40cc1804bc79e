"""The pictures of an `evolution` run: one idea each, matplotlib figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workflows.evolution_measures import Biases, Curves, VarianceCurve
from workflows.evolution_settings import Bias
from workflows.report import new_figure

NAMES = {
    "full_es": "full ES",
    "truncated_es": "truncated ES",
    "pes": "PES",
    "nres": "NRES",
    "backprop": "backprop",
    "truncated_backprop": "truncated backprop",
    "uoro": "UORO",
    "dodge": "DODGE",
}
COLOURS = {
    "nres": "#0b6e8f",
    "pes": "#d9822b",
    "full_es": "#5b8c3a",
    "truncated_es": "#b33a3a",
    "backprop": "#6b7178",
    "truncated_backprop": "#a68a2a",
    "uoro": "#8a4f9e",
    "dodge": "#2f4b7c",
}
MORE_COLOURS = ("#4aa3a2", "#c26a8d", "#7d9c3f", "#946b4c")
STEPS = {"environment_steps": "environment steps", "sequential_steps": "sequential steps"}


def name_of(arm: str) -> str:
    """An arm's name for people."""
    return NAMES.get(arm) or f"GPES, K = {arm.rpartition('_')[2]}"


def _colours(arms: Sequence[str]) -> dict[str, str]:
    others = [arm for arm in arms if arm not in COLOURS]
    return {**COLOURS, **{arm: MORE_COLOURS[place % len(MORE_COLOURS)] for place, arm in enumerate(others)}}


def panels(columns: int, *, width: float, height: float, **shared: Any) -> tuple[Any, np.ndarray]:
    """A figure of axes side by side in the report's look; sizes of the whole in inches."""
    figure, axes = new_figure(width, height)
    axes.remove()
    made = figure.subplots(1, columns, squeeze=False, **shared)
    for one in made.flat:
        one.patch.set_alpha(0)
    return figure, made[0]


def learning(curves: Curves, shown: str = "shown") -> Any:
    """The loss, or the reward, of every arm against environment steps and against sequential steps.

    Args:
        curves: the runs.
        shown: "shown", the loss that is compared, or "loss", that of the parameters themselves.
    """
    comparison = curves.comparison
    figure, axes = panels(2, width=10.0, height=3.9, sharey=True)
    colours = _colours(list(curves.runs))
    for one, which in zip(axes, STEPS, strict=True):
        for arm in curves.runs:
            steps, mean, (low, high) = curves.steps(arm, which), curves.mean(arm, shown), curves.bounds(arm, shown)
            if comparison.reward:
                mean, low, high = 1 - mean, np.maximum(1 - high, 0), np.minimum(1 - low, 1)
            else:
                low = np.maximum(low, 1e-3 * mean)  # an interval of few seeds may reach below 0
            kept = (steps > 0) & np.isfinite(mean)  # the axis is logarithmic
            if not kept.any():
                continue
            style = {"color": colours[arm], "lw": 2.2 if arm == "nres" else 1.4}
            one.plot(steps[kept], mean[kept], label=name_of(arm), **style)
            one.fill_between(steps[kept], low[kept], high[kept], color=colours[arm], alpha=0.13, lw=0)
        if one.get_lines():
            one.set_xscale("log")
        one.set_xlabel(STEPS[which])
    if comparison.reward:
        axes[0].set_ylabel("reward a step")
    else:
        smoothed = curves.smoothed and shown == "shown"
        axes[0].set_ylabel(f"{'smoothed ' if smoothed else ''}loss\n({comparison.unit})")
        means = np.concatenate([curves.mean(arm, shown) for arm in curves.runs])
        axes[0].set_ylim(*_limits(means, curves.first_loss()))
        if curves.first_loss() > 3 * curves.lowest_loss() > 0:
            axes[0].set_yscale("log")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="center left", bbox_to_anchor=(0.99, 0.5))
    figure.tight_layout()
    return figure


def _limits(means: np.ndarray, first: float) -> tuple[float, float]:
    """From below the lowest to above the first: what diverges leaves the picture."""
    finite = means[np.isfinite(means)]
    lowest, highest = float(finite.min()), max(first, float(np.median(finite)))
    span = (highest - lowest) or 1.0
    return max(lowest - 0.08 * span, 0.9 * lowest if lowest > 0 else -np.inf), highest + 0.25 * span


def variance(curve: VarianceCurve) -> Any:
    """Variance against K: measured, and the closed form."""
    figure, axes = new_figure(7.2, 3.5)
    reuses = [point.reuse for point in curve.points]
    closed = [point.closed for point in curve.points]
    if np.isfinite(closed).any():
        label = "closed form" if curve.exact else "closed form, of losses made linear"
        axes.plot(reuses, closed, color="#d9822b", lw=1.4, label=label)
    measured = [point.measured for point in curve.points]
    errors = [1.96 * point.error for point in curve.points]
    axes.errorbar(reuses, measured, errors, fmt="o", ms=5, color="#0b6e8f", capsize=3, label="GPES, measured (95 %)")
    if curve.full_es:
        axes.axhline(curve.full_es.measured, color="#5b8c3a", ls="--", lw=1.2, label="full ES, a whole episode each")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(reuses, [str(reuse) for reuse in reuses])
    axes.minorticks_off()
    axes.set_xlabel("K, steps between fresh perturbations (PES: the first; NRES: the last)")
    axes.set_ylabel("variance of an estimate")
    axes.legend(frameon=False, fontsize=9)
    return figure


def bias(of: Bias, found: Biases) -> Any:
    """Mean estimates against the rate, beside the exact gradient."""
    figure, axes = new_figure(7.2, 3.5)
    first = next(iter(found.values()))
    axes.plot([p.log_rate for p in first], [p.exact for p in first], color="#1c2024", lw=1.2, label="exact")
    span = np.ptp([p.log_rate for p in first]) or 1.0
    for place, (name, points) in enumerate(found.items()):
        at = [p.log_rate + 0.012 * span * (place - (len(found) - 1) / 2) for p in points]
        errors = [1.96 * p.error for p in points]
        axes.errorbar(
            at, [p.mean for p in points], errors, fmt="o", ms=4.5, capsize=3, color=COLOURS[name], label=name_of(name)
        )
    axes.axhline(0, color="#d9dbdd", lw=1, zorder=0)
    axes.set_xlabel("ln of the step size")
    axes.set_ylabel(f"gradient by it (95 %), windows of {of.window}")
    axes.legend(frameon=False, fontsize=9)
    return figure
