"""The pictures of a `parameterization` run: one idea each, matplotlib figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.parameterization import ALIGNMENTS
from models.parameterization.coordinates import EPSILON_POWERS
from workflows.parameterization_measures import Curves, Looked, interval, predicted_exponent
from workflows.parameterization_settings import GLOBAL
from workflows.report import new_figure

NAMES = {"standard": "Standard", "ntk": "NTK", "mup": "muP", "mean_field": "Mean-field"}
COLOURS = {"standard": "#0b6e8f", "ntk": "#5b8c3a", "mup": "#d9822b", "mean_field": "#8a4f9e"}
VARIANT_NAMES = {"full": "by layer, full alignment", "none": "by layer, no alignment", GLOBAL: "one rate"}
LAYER_COLOURS = ("#0b6e8f", "#d9822b", "#5b8c3a", "#8a4f9e", "#b33a3a", "#6b7178", "#2f4b7c", "#a68a2a")
FAR_ABOVE_NATS = 1.2  # of the best loss: what lies beyond is not shown


def panels(rows: int, columns: int, *, width: float, height: float, **shared: Any) -> tuple[Any, np.ndarray]:
    """A figure of several axes in the report's look; sizes of the whole in inches."""
    figure, axes = new_figure(width, height)
    axes.remove()
    made = figure.subplots(rows, columns, squeeze=False, **shared)
    for one in made.flat:
        one.patch.set_alpha(0)
    return figure, made


def _width_colours(widths: Sequence[int]) -> list[Any]:
    """From light to dark as widths grow."""
    import matplotlib as mpl

    return [mpl.colormaps["viridis_r"](0.12 + 0.85 * place / max(1, len(widths) - 1)) for place in range(len(widths))]


def transfer(curves: Curves) -> Any:
    """Loss against learning rate, a line for each width; the lowest point of each is marked."""
    sweep = curves.sweep
    rows, columns = len(sweep.parameterizations), len(sweep.variants)
    size = {"width": 2.2 + 2.7 * columns, "height": 0.7 + 1.9 * rows}
    figure, axes = panels(rows, columns, **size, sharex=True, sharey=True)
    rates = sweep.log2_learning_rates
    colours = _width_colours(sweep.sizes.widths)
    lowest = np.nanmin([np.nanmin(one) for one in curves.losses_SR.values()])
    for row, parameterization in enumerate(sweep.parameterizations):
        for column, variant in enumerate(sweep.variants):
            one = axes[row, column]
            for colour, width in zip(colours, sweep.sizes.widths, strict=True):
                losses_SR = curves.losses_SR[parameterization, variant, width]
                one.plot(rates, losses_SR.mean(axis=0), color=colour, lw=1.4, label=str(width))
                for losses_R in losses_SR if len(losses_SR) > 1 else ():
                    one.plot(rates, losses_R, color=colour, lw=0.4, alpha=0.5)
                best = curves.best_of_mean(parameterization, variant, width)
                if best:
                    one.plot(rates[best.place], best.loss, "o", color=colour, ms=5, mec="black", mew=0.6, zorder=3)
            if row == 0:
                one.set_title(VARIANT_NAMES[variant], fontsize=10)
            if column == 0:
                one.set_ylabel(f"{NAMES[parameterization]}\nloss, nats")
            if row == rows - 1:
                one.set_xlabel("log2 of the learning rate")
    axes[0, 0].set_ylim(lowest - 0.06, lowest + FAR_ABOVE_NATS)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="width", frameon=False, loc="center left", bbox_to_anchor=(0.99, 0.5))
    figure.tight_layout()
    return figure


def fitted_against_predicted(curves: Sequence[Curves]) -> Any:
    """How fast best learning rates fall with the width: measured, beside theory's."""
    places = [
        (one, parameterization, variant)
        for variant in ("full", "none", GLOBAL)
        for one in curves
        for parameterization in one.sweep.parameterizations
        if variant in one.sweep.variants and one.exponents(parameterization, variant)
    ]
    figure, axes = new_figure(8.6, 0.8 + 0.2 * len(places))
    labels, shown = [], set()
    for number, (one, parameterization, variant) in enumerate(places):
        y = -number - 0.6 * ("full", "none", GLOBAL).index(variant)
        truths = [predicted_exponent(parameterization, one.sweep.optimizer, variant, truth) for truth in ALIGNMENTS]
        found = interval(one.exponents(parameterization, variant))
        name = NAMES[parameterization]
        axes.plot(truths, [y, y], color="#d9dbdd", lw=6, solid_capstyle="butt", zorder=1)
        axes.plot([truths[0], truths[0]], [y - 0.38, y + 0.38], color="#1c2024", lw=2.2)
        axes.plot([found.low, found.high], [y, y], color=COLOURS[parameterization], lw=1.6)
        marker = "X" if one.at_edge(parameterization, variant) else "o"
        label = name if name not in shown else None
        axes.plot(found.mean, y, marker, color=COLOURS[parameterization], ms=5.5, ls="", label=label)
        shown.add(name)
        labels.append((y, f"{one.sweep.name}, {VARIANT_NAMES[variant]}"))
    axes.set_yticks([y for y, _ in labels], [text for _, text in labels], fontsize=7)
    axes.axvline(0, color="#d9dbdd", lw=1, zorder=0)
    axes.set_xlabel("e of: best learning rate ~ width^-e; predicted: black, full alignment; grey, down to none")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.margins(y=0.02)
    return figure


def coordinates(looked: Looked, optimizer: str) -> Any:
    """How far each layer's output moves at the first step, against the width."""
    look = looked.look
    layers = looked.layers()
    rows, columns = len(look.variants), len(look.parameterizations)
    figure, axes = panels(rows, columns, width=1.6 + 2.2 * columns, height=0.9 + 2.0 * rows, sharex=True, sharey=True)
    for row, variant in enumerate(look.variants):
        for column, parameterization in enumerate(look.parameterizations):
            one = axes[row, column]
            values_WL = looked.mean_log2("alone_rms", (optimizer, parameterization, variant))
            for number, layer in enumerate(layers):
                colour = LAYER_COLOURS[number % len(LAYER_COLOURS)]
                style = "-" if number < len(LAYER_COLOURS) else "--"
                one.plot(
                    look.sizes.widths, 2.0 ** values_WL[:, number], style, marker="o", ms=3, color=colour, label=layer
                )
            one.set_xscale("log", base=2)
            one.set_yscale("log", base=2)
            one.set_xticks(look.sizes.widths, [str(width) for width in look.sizes.widths])
            if row == 0:
                one.set_title(NAMES[parameterization], fontsize=10)
            if row == rows - 1:
                one.set_xlabel("width")
            if column == 0:
                one.set_ylabel(f"{VARIANT_NAMES[variant].split(', ')[-1]}\nchange of output, rms", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, title="layer", frameon=False, loc="center left", bbox_to_anchor=(0.99, 0.5), fontsize=8
    )
    figure.tight_layout()
    return figure


def epsilon_map(looked: Looked, optimizer: str, variant: str) -> Any:
    """The share of entries whose second moment's root is below epsilon, against width and epsilon."""
    look = looked.look
    row = looked.rows[optimizer, look.parameterizations[0], variant, look.sizes.widths[0]][0]
    kinds = _one_of_each_kind(row["parameters"])
    rows, columns = len(kinds), len(look.parameterizations)
    figure, axes = panels(rows, columns, width=1.8 + 2.1 * columns, height=0.9 + 1.5 * rows, sharex=True, sharey=True)
    picture = None
    for column, parameterization in enumerate(look.parameterizations):
        for place, name in enumerate(kinds):
            one = axes[place, column]
            share_WE = np.array(
                [
                    np.mean([found["below"][found["parameters"].index(name)] for found in cells], axis=0)
                    for cells in (looked.rows[optimizer, parameterization, variant, w] for w in look.sizes.widths)
                ]
            )
            half = (EPSILON_POWERS[1] - EPSILON_POWERS[0]) / 2
            extent = (EPSILON_POWERS[0] - half, EPSILON_POWERS[-1] + half, -0.5, len(share_WE) - 0.5)
            picture = one.imshow(share_WE, aspect="auto", origin="lower", extent=extent, vmin=0, vmax=1, cmap="magma_r")
            one.set_yticks(range(len(look.sizes.widths)), [str(width) for width in look.sizes.widths])
            one.axvline(np.log10(look.sizes.eps), color="#0b6e8f", lw=1.2, ls=":")
            if place == 0:
                one.set_title(NAMES[parameterization], fontsize=10)
            if place == rows - 1:
                one.set_xlabel("log10 of epsilon")
            if column == 0:
                one.set_ylabel(f"{name.split('/')[-2]}\nwidth", fontsize=9)
    figure.tight_layout()
    if picture is not None:
        figure.colorbar(picture, ax=list(axes.flat), label="share of updates below epsilon", fraction=0.03, pad=0.02)
    return figure


def _one_of_each_kind(parameters: Sequence[str]) -> list[str]:
    """The first layer, one hidden layer and the readout: names of parameters in the order of the tree."""
    hidden = [name for name in parameters if "hidden" in name or "mlp" in name or "attention" in name]
    ends = [name for name in parameters if name not in hidden and "norm" not in name]
    first = [name for name in ends if "embedding" in name]
    last = [name for name in ends if name not in first]
    return [*first[:1], *[name for name in hidden if "kernel" in name][-1:], *last[:1]]


def alignment(looked: Looked, optimizer: str, variant: str) -> Any:
    """The log alignment ratio of each layer while it trains, and of the change of its weights (alpha)."""
    look = looked.look
    layers = looked.layers()
    width = look.sizes.widths[-1]
    columns = len(look.parameterizations)
    measures = {"alignment": "weights and inputs", "alpha": "weights' change and inputs", "u": "both changes"}
    figure, axes = panels(len(measures), columns, width=1.6 + 2.2 * columns, height=6.4, sharex=True, sharey=True)
    for column, parameterization in enumerate(look.parameterizations):
        cells = looked.rows[optimizer, parameterization, variant, width]
        for row, (measure, name) in enumerate(measures.items()):
            one = axes[row, column]
            for height, text in ((0.5, "none"), (1.0, "full")):
                one.axhline(height, color="#9aa1a8", lw=0.8, ls=":")
                if column == columns - 1:
                    one.text(look.at_steps[-1], height, f" {text}", va="center", fontsize=8, color="#6b7178")
            mean_SL = np.mean([cell[measure] for cell in cells], axis=0)
            for number, layer in enumerate(layers):
                if np.isfinite(mean_SL[:, number]).any():
                    colour = LAYER_COLOURS[number % len(LAYER_COLOURS)]
                    style = "-" if number < len(LAYER_COLOURS) else "--"
                    one.plot(look.at_steps, mean_SL[:, number], style, marker="o", ms=3, color=colour, label=layer)
            one.set_xscale("log", base=2)
            if row == 0:
                one.set_title(NAMES[parameterization], fontsize=10)
            if row == len(measures) - 1:
                one.set_xlabel("step")
            if column == 0:
                one.set_ylabel(f"{name},\nlog alignment ratio", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, title="layer", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8
    )
    figure.tight_layout()
    return figure


def best_losses(curves: Sequence[Curves]) -> Any:
    """The best loss of each parameterization against the width; below, its difference from Standard's."""
    figure, axes = panels(2, len(curves), width=1.8 + 2.7 * len(curves), height=5.6, sharex="col", sharey="row")
    for one, (above, below) in zip(curves, axes.T, strict=True):
        sweep = one.sweep
        widths = np.array(sweep.sizes.widths)
        for place, parameterization in enumerate(sweep.parameterizations):
            for variant, style in (("full", "-"), (GLOBAL, ":")):
                if variant not in sweep.variants:
                    continue
                found = [interval(one.best_loss(parameterization, variant, width)) for width in widths]
                label = f"{NAMES[parameterization]}, {'by layer' if variant == 'full' else 'one rate'}"
                look = {"ls": style, "marker": "o", "ms": 3, "color": COLOURS[parameterization], "label": label}
                above.plot(widths, [each.mean for each in found], **look)
                if (parameterization, variant) == ("standard", "full") or "standard" not in sweep.parameterizations:
                    continue
                # beside each other: Standard and NTK, and muP and Mean-field, mostly agree
                x = widths[1:] * 2.0 ** (0.07 * (place - 1.5))
                pairs = [one.difference(("standard", "full"), (parameterization, variant), w) for w in widths[1:]]
                apart = [interval(each) for each in pairs]
                means = np.array([each.mean for each in apart])
                spread = [means - [each.low for each in apart], [each.high for each in apart] - means]
                below.errorbar(x, means, spread, capsize=2, **look)
        below.axhline(0, color=COLOURS["standard"], lw=1)
        above.set_xscale("log", base=2)
        above.set_xticks(widths, [str(width) for width in widths])
        below.set_xlabel("width")
        above.set_title(sweep.name.replace("_", ", "), fontsize=10)
    differences = [
        abs(line.get_ydata()).max() for one in axes[1] for line in one.get_lines() if line.get_marker() == "o"
    ]
    farthest = 1.6 * max([each for each in differences if np.isfinite(each)], default=0.1)
    axes[1, 0].set_ylim(-farthest, farthest)
    axes[0, 0].set_ylabel("best loss, nats")
    axes[1, 0].set_ylabel("minus that of Standard,\nby layer, nats (95 %)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    figure.tight_layout()
    return figure
