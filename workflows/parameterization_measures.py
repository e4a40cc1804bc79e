"""What grids of trainings say: best learning rates, how they move with the width, and whose loss is lower.

R = learning rates, S = seeds, W = widths. Losses are nats a symbol; a learning rate is that of the first width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from models.parameterization import exponents
from models.rest_em.metrics import Interval, t_interval
from shammie.files import canonical_json
from workflows.parameterization_settings import GLOBAL, Look, Sweep


class Best(NamedTuple):
    """The lowest point of a curve of losses against log2 of the learning rate.

    Attributes:
        log2_rate: where it is: of the parabola through the lowest point and its neighbours.
        loss: the lowest loss that was measured, nats.
        place: of that learning rate among those tried.
        at_edge: whether it is the first or last learning rate that was tried, so that a better one may lie beyond.
    """

    log2_rate: float
    loss: float
    place: int
    at_edge: bool


def best_of(losses_R: np.ndarray, log2_rates: Sequence[float]) -> Best | None:
    """The lowest point of a curve; None where no training stayed finite.

    Args:
        losses_R: one for each learning rate; what is not finite counts as infinite.
        log2_rates: rising.
    """
    losses_R = np.where(np.isfinite(losses_R), losses_R, np.inf)
    index = int(np.argmin(losses_R))
    loss = float(losses_R[index])
    if not np.isfinite(loss):
        return None
    at_edge = index in (0, len(losses_R) - 1)
    x, around = float(log2_rates[index]), losses_R[index - 1 : index + 2]
    if at_edge or not np.isfinite(around).all():
        return Best(x, loss, index, at_edge)
    curvature = np.polyfit(np.asarray(log2_rates[index - 1 : index + 2], float) - x, around, 2)
    vertex = -curvature[1] / (2 * curvature[0]) if curvature[0] > 0 else 0.0
    return Best(x + float(vertex), loss, index, at_edge)


@dataclass(frozen=True)
class Curves:
    """The losses of a sweep.

    Attributes:
        sweep: its settings.
        losses_SR: by (parameterization, variant, width); NaN for cells that failed.
        cells: trainings; those of the first width serve every parameterization and variant.
    """

    sweep: Sweep
    losses_SR: Mapping[tuple[str, str, int], np.ndarray]
    cells: int

    def best(self, parameterization: str, variant: str, width: int) -> list[Best | None]:
        """The lowest point of each seed's curve."""
        losses = self.losses_SR[parameterization, variant, width]
        return [best_of(losses_R, self.sweep.log2_learning_rates) for losses_R in losses]

    def best_of_mean(self, parameterization: str, variant: str, width: int) -> Best | None:
        """The lowest point of the seeds' mean curve."""
        losses = self.losses_SR[parameterization, variant, width]
        return best_of(losses.mean(axis=0), self.sweep.log2_learning_rates)

    def steps_moved(self, parameterization: str, variant: str) -> float | None:
        """How far apart the best learning rates of all widths are, of the mean curves, in steps of the grid."""
        best = [self.best_of_mean(parameterization, variant, width) for width in self.sweep.sizes.widths]
        found = [one.place for one in best if one is not None]
        return float(max(found) - min(found)) if len(found) == len(best) else None

    def exponents(self, parameterization: str, variant: str) -> list[float]:
        """For each seed that has one e of: best learning rate ~ width^-e, by least squares on logarithms."""
        widths = self.sweep.sizes.widths
        if len(widths) < 2:
            return []
        per_width = [self.best(parameterization, variant, width) for width in widths]
        found = []
        for bests in zip(*per_width, strict=True):
            rates = [one.log2_rate for one in bests if one is not None]
            if len(rates) == len(widths):
                found.append(-float(np.polyfit(np.log2(widths), rates, 1)[0]))
        return found

    def at_edge(self, parameterization: str, variant: str) -> bool:
        """Whether some width's best learning rate is the first or the last one tried."""
        best = [self.best_of_mean(parameterization, variant, width) for width in self.sweep.sizes.widths]
        return any(one is None or one.at_edge for one in best)

    def difference(self, of: tuple[str, str], over: tuple[str, str], width: int) -> list[float]:
        """Best loss of the second minus that of the first for each seed: above 0 where the first is better; nats.

        Each has the learning rate that is best for its mean curve, so that no seed chooses its own.
        """
        return [b - a for a, b in zip(self._at_best(of, width), self._at_best(over, width), strict=True)]

    def _at_best(self, place: tuple[str, str], width: int) -> np.ndarray:
        best = self.best_of_mean(*place, width)
        losses = self.losses_SR[*place, width]
        return np.full(len(losses), np.nan) if best is None else losses[:, best.place]

    def best_loss(self, parameterization: str, variant: str, width: int) -> list[float]:
        """For each seed the loss at the learning rate that is best for the mean curve; nats."""
        return [float(one) for one in self._at_best((parameterization, variant), width)]


def predicted_exponent(parameterization: str, optimizer: str, variant: str, alignment: str = "full") -> float:
    """The e that theory has for: best learning rate ~ width^-e.

    One rate for all layers is bounded by the layer that bears the least. With each layer's own rates the best one falls
    by the largest excess of what they grow by over what layers bear: not at all where alignment is as assumed.

    Args:
        parameterization: its name.
        optimizer: its name.
        variant: "full" or "none", the alignment that rates by layer assume; "global", one rate.
        alignment: how updates and activations are aligned in truth, "full" or "none".
    """
    bears = {role: layer.c for role, layer in exponents(parameterization, optimizer, alignment).items()}
    if variant == GLOBAL:
        return float(max(bears.values()))
    assumed = exponents(parameterization, optimizer, variant)
    return float(max(bears[role] - layer.c for role, layer in assumed.items()))


def curves_of(sweep: Sweep, table: pa.Table) -> Curves:
    """A sweep's losses from its cells.

    Args:
        sweep: its settings.
        table: `workflows.sweep.read_table`.
    """
    found = dict(zip(table["config"].to_pylist(), table["final_loss"].to_pylist(), strict=True))

    def loss(*place: Any) -> float:
        return found.get(canonical_json(sweep.training(*place)), np.nan)

    return Curves(
        sweep,
        {
            place: np.array([[loss(*place, rate, seed) for rate in sweep.log2_learning_rates] for seed in sweep.seeds])
            for place in sweep.places()
        },
        len(found),
    )


@dataclass(frozen=True)
class Looked:
    """What one look found: by (optimizer, parameterization, variant, width), a row for each seed.

    Attributes:
        look: its settings.
        rows: the cells' columns, matrices in shape.
    """

    look: Look
    rows: Mapping[tuple[str, str, str, int], list[dict[str, Any]]]

    def layers(self) -> list[str]:
        """The layers' names."""
        return next(iter(self.rows.values()))[0]["layers"]

    def mean_log2(self, column: str, place: tuple[str, str, str], step: int | None = None) -> np.ndarray:
        """log2 of a column of root mean squares, mean over seeds, [W, L].

        Args:
            column: "alone_rms", "output_rms", or "change_rms" with a step's place.
            place: optimizer, parameterization and variant.
            step: its place in `at_steps`.
        """
        found = []
        for width in self.look.sizes.widths:
            values = [row[column] if step is None else row[column][step] for row in self.rows[*place, width]]
            with np.errstate(divide="ignore"):
                found.append(np.mean([np.log2(one) for one in values], axis=0))
        return np.array(found)

    def slopes(self, column: str, place: tuple[str, str, str], step: int | None = None) -> dict[str, float]:
        """By layer e of: root mean square ~ width^e."""
        log2_n = np.log2(self.look.sizes.widths)
        values_WL = self.mean_log2(column, place, step)
        return {
            name: float(np.polyfit(log2_n, values_WL[:, number], 1)[0]) for number, name in enumerate(self.layers())
        }


def looked_of(look: Look, table: pa.Table) -> Looked:
    """What a look found, from its cells."""
    rows: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    by_config = dict(zip(table["config"].to_pylist(), table.to_pylist(), strict=True))
    for config in look.configs():
        row = by_config.get(canonical_json(config))
        if row is None:
            continue
        place = config["optimizer"], config["parameterization"], _variant(config), config["width"]
        rows.setdefault(place, []).append(_shaped(row, len(look.at_steps)))
    return Looked(look, rows)


def _variant(config: Mapping[str, Any]) -> str:
    return config["alignment"] if config["per_layer"] else GLOBAL


def _shaped(row: dict[str, Any], steps: int) -> dict[str, Any]:
    layers, parameters = len(row["layers"]), len(row["parameters"])
    out: dict[str, Any] = {}
    for name, value in row.items():
        if name in ("cell", "config", "layers", "parameters"):
            out[name] = value
        elif name == "below":
            out[name] = np.array(value).reshape(parameters, -1)
        elif name in ("losses", "output_rms", "alone_rms"):
            out[name] = np.array(value)
        else:
            out[name] = np.array(value, float).reshape(steps, layers)
    return out


def interval(values: Sequence[float]) -> Interval:
    """The mean of finite values with its 95 % interval over seeds; of one value, that value thrice; NaN of none."""
    finite = [float(one) for one in values if np.isfinite(one)]
    if not finite:
        return Interval(np.nan, np.nan, np.nan)
    return t_interval(finite) if len(finite) > 1 else Interval(finite[0], finite[0], finite[0])


def results(curves: Sequence[Curves], looks: Sequence[Looked]) -> dict[str, Any]:
    """The flat result; what is not finite is left out.

    For each sweep S, parameterization P and variant V (full, none: rates of each layer for that alignment; global: one
    rate for all layers):

    - S_P_V_best_rate_moved_grid_steps: between the widths, of the mean curve over seeds.
    - S_P_V_fitted_exponent: e of best rate ~ width^-e; ..._low and ..._high bound 95 % over seeds.
    - S_P_V_predicted_exponent: what theory has for full alignment; ..._without_alignment: for none.
    - S_P_V_best_loss_wN_nats: at width N; with bounds.
    - S_P_V_rates_too_narrow: 1 where a best rate is the first or last one tried.
    - S_standard_over_mup_wN_nats: loss of muP minus loss of Standard, both with each layer's own rates for full
      alignment, paired over seeds: above 0 where Standard is better; with bounds.

    And for each look, optimizer, P and V: LOOK_OPTIMIZER_P_V_first_step_slope_LAYER: e of the change of a layer's
    output ~ width^e, that layer alone being updated: 0 is right.
    """
    out: dict[str, Any] = {}
    transfers, asked = 0, 0
    for one in curves:
        for parameterization in one.sweep.parameterizations:
            for variant in one.sweep.variants:
                out |= _of_place(one, parameterization, variant)
                if variant == "full":
                    moved = one.steps_moved(parameterization, variant)
                    asked, transfers = asked + 1, transfers + (moved is not None and moved <= 1)
        if {"standard", "mup"} <= {*one.sweep.parameterizations} and "full" in one.sweep.variants:
            for width in one.sweep.sizes.widths[1:]:
                differences = one.difference(("standard", "full"), ("mup", "full"), width)
                out |= _bounded(f"{one.sweep.name}_standard_over_mup_w{width}_nats", differences)
    for looked in looks:
        for optimizer, parameterization, variant in dict.fromkeys(place[:3] for place in looked.rows):
            name = f"{looked.look.name}_{optimizer}_{parameterization}_{variant}_first_step_slope"
            slopes = looked.slopes("alone_rms", (optimizer, parameterization, variant))
            out |= {f"{name}_{layer.replace('/', '_')}": slope for layer, slope in slopes.items()}
    first = {"full_alignment_transfers": transfers, "full_alignment_transfers_asked": asked}
    first |= {"cells": sum(one.cells for one in curves)}
    first |= {"seeds": max((len(one.sweep.seeds) for one in curves), default=0)}
    return {name: value for name, value in {**first, **out}.items() if np.isfinite(value)}


def _of_place(one: Curves, parameterization: str, variant: str) -> dict[str, Any]:
    name = f"{one.sweep.name}_{parameterization}_{variant}"
    moved = one.steps_moved(parameterization, variant)
    out: dict[str, Any] = {f"{name}_best_rate_moved_grid_steps": np.nan if moved is None else moved}
    out |= _bounded(f"{name}_fitted_exponent", one.exponents(parameterization, variant))
    for ending, alignment in (("", "full"), ("_without_alignment", "none")):
        predicted = predicted_exponent(parameterization, one.sweep.optimizer, variant, alignment)
        out[f"{name}_predicted_exponent{ending}"] = predicted
    out[f"{name}_rates_too_narrow"] = int(one.at_edge(parameterization, variant))
    for width in one.sweep.sizes.widths:
        out |= _bounded(f"{name}_best_loss_w{width}_nats", one.best_loss(parameterization, variant, width))
    return out


def _bounded(name: str, values: Sequence[float]) -> dict[str, float]:
    found = interval(values)
    several = sum(np.isfinite(one) for one in values) > 1
    return {name: found.mean, **({f"{name}_low": found.low, f"{name}_high": found.high} if several else {})}
