"""Pictures of `adversarial_arithmetic`: success against tries, distance of the target, copies and hardening."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.rest_em.metrics import Interval
from workflows.report import new_figure

COLOURS = ("#0b6e8f", "#d9822b", "#5b8c3a", "#8a4f9e", "#b33a3a", "#6b7178")


def tries_figure(curves: Mapping[str, Mapping[int, float]]) -> Any:
    """The share of questions that k texts break, by who wrote them.

    Args:
        curves: writer to k to share.
    """
    figure, axes = new_figure(7.0, 3.2)
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(list(curve), list(curve.values()), "o-", label=name, color=COLOURS[number % len(COLOURS)])
    axes.set_xscale("log", base=2)
    ks = sorted({k for curve in curves.values() for k in curve})
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_xlabel("texts tried")
    axes.set_ylabel("questions broken")
    axes.set_ylim(-0.02, 1.02)
    _legend(axes)
    return figure


def points_figure(lines: Mapping[str, Mapping[int, Interval]], label: str, *, logarithmic: bool = True) -> Any:
    """Success rates with their 95 % intervals against a whole number, such as copies or |delta|.

    Args:
        lines: name to number to interval.
        label: of the axis of numbers.
        logarithmic: whether that axis is.
    """
    figure, axes = new_figure(7.0, 3.2)
    for number, (name, line) in enumerate(lines.items()):
        at = np.array(sorted(line), float)
        means = np.array([line[int(one)].mean for one in at])
        sides = [means - [line[int(one)].low for one in at], np.array([line[int(one)].high for one in at]) - means]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(at, means, np.maximum(sides, 0), marker="o", capsize=2, label=name, color=colour)
    ticks = sorted({one for line in lines.values() for one in line})
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [str(one) for one in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("replies fooled")
    axes.set_ylim(-0.02, 1.02)
    _legend(axes)
    return figure


def transfer_figure(matrix: Mapping[str, Mapping[str, float | None]]) -> Any:
    """Success of attacks found on one model (rows) against another (columns)."""
    sources, victims = list(matrix), sorted({name for row in matrix.values() for name in row})
    shares = np.array([[np.nan if (value := matrix[a].get(b)) is None else value for b in victims] for a in sources])
    figure, axes = new_figure(1.6 + 1.1 * len(victims), 1.2 + 0.7 * len(sources))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*shares.shape):
        dark = shares[row, column] > 0.5
        axes.text(
            column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color="white" if dark else "black"
        )
    axes.set_xticks(range(len(victims)), victims)
    axes.set_yticks(range(len(sources)), sources)
    axes.set_xlabel("asked")
    axes.set_ylabel("found on")
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def hardening_figure(bars: Mapping[str, Mapping[str, Interval]]) -> Any:
    """What is left of attacks after each hardening.

    Args:
        bars: measure to hardening to interval.
    """
    names = list(dict.fromkeys(name for row in bars.values() for name in row))
    figure, axes = new_figure(7.5, 3.2)
    width = 0.8 / max(1, len(bars))
    for number, (measure, row) in enumerate(bars.items()):
        known = [one for one in names if one in row]
        at = np.array([names.index(one) for one in known]) + (number - (len(bars) - 1) / 2) * width
        means = np.array([row[one].mean for one in known])
        sides = [means - [row[one].low for one in known], np.array([row[one].high for one in known]) - means]
        axes.bar(at, means, 0.9 * width, label=measure, color=COLOURS[number % len(COLOURS)])
        axes.errorbar(at, means, np.maximum(sides, 0), fmt="none", ecolor="0.3", capsize=2)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share")
    _legend(axes)
    return figure


def training_figure(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Reward, KL to the start and the held-out reward over a policy's training.

    Args:
        rows: of `workflows.policy_training.train_policy`.
    """
    figure, axes = new_figure(7.0, 3.0)
    trained = [row for row in rows if "reward" in row]
    axes.plot([row["step"] for row in trained], [row["reward"] for row in trained], color=COLOURS[0], label="reward")
    measured = [row for row in rows if "held_out" in row]
    axes.plot([row["step"] for row in measured], [row["held_out"] for row in measured], "o", color=COLOURS[1],
              label="held-out reward, greedy")  # fmt: skip
    if any("kl" in row for row in trained):
        axes.plot([row["step"] for row in trained], [row.get("kl", np.nan) for row in trained], color=COLOURS[5],
                  label="KL to the start (nats a token)")  # fmt: skip
    axes.set_xlabel("iteration")
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
