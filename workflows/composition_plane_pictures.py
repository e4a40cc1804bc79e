"""The pictures of the 2D table: matplotlib figures of what `composition_plane` has read. N points, P levels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from beam_jobs.composition.plane_cells import EXACT
from models.composition.plane import HALF_WIDTH, truth
from workflows.composition_plane import JUDGED_BY, FoundPlane, PlaneRow, by_place
from workflows.report import new_figure

COLOURS = {"reverse": "#d9822b", "ula": "#4f9bbd", "mala": "#0b6e8f", "uhmc": "#a06cc9", "hmc": "#7a4fa3"}
OTHER_COLOURS = ("#3b8f4a", "#b0413e", "#6b7178", "#c2a21a")
INK, FAINT, LINE = "#1c2024", "#6b7178", "#d9dbdd"
NAMES = {"exact": "truth", "ula": "ULA", "mala": "MALA", "uhmc": "U-HMC", "hmc": "HMC"}
SHOWN = 1.15  # half the side of what is shown of the plane
COARSE = 4  # cells of the truth's grid that are one pixel of a picture
DARKEST = 0.3  # of a colour map, for the density beneath points


def clouds(found: Sequence[FoundPlane], pair: str) -> Any:
    """Samples of the first seed over the true density: a row for each sampler, a column for each form.

    Args:
        found: of the whole table.
        pair: which.
    """
    cells = _first_seeds(found, pair)
    samplers = cells[0].samplers
    figure, axes = _grid(len(cells), len(samplers), 1.75)
    density = _density(cells[0])
    for column, cell in enumerate(cells):
        for row, sampler in enumerate(samplers):
            here = axes[row][column]
            _plane(here, density)
            points_ND = cell.points_KND[row]
            colour = INK if sampler == EXACT else _colour(sampler, samplers)
            here.plot(*points_ND.T, ".", color=colour, markersize=2.0, alpha=0.75, markeredgewidth=0, rasterized=False)
            if sampler in cell.refused:
                _nothing(here, _short(cell.refused[sampler]))
            elif sampler != EXACT:
                _corner(here, f"{cell.value(JUDGED_BY, sampler):.3f}")
            if row == 0:
                here.set_title(_form(cell.form), fontsize=10)
            if column == 0:
                here.set_ylabel(_name(sampler), fontsize=10)
    return figure


def moving(found: Sequence[FoundPlane], pair: str, form: str) -> Any:
    """Chains of the first seed on their way down the levels: a row for each sampler, a column for each level.

    Args:
        found: of the whole table.
        pair: which.
        form: of the models.
    """
    cell = next(one for one in found if one.run.pair == pair and one.form == form)
    samplers = [name for name in cell.samplers if name != EXACT and name not in cell.refused]
    levels = cell.run.recorded_levels
    figure, axes = _grid(len(levels), len(samplers), 1.35)
    schedule, density = cell.run.model.schedule, _density(cell)
    for row, sampler in enumerate(samplers):
        path_PND = cell.path_KPND[cell.samplers.index(sampler)]
        for column, level in enumerate(levels):
            here = axes[row][column]
            _plane(here, density, side=2.0, faint=True)
            here.plot(*path_PND[column].T, ".", color=_colour(sampler, cell.samplers), markersize=1.8, alpha=0.7,
                      markeredgewidth=0)  # fmt: skip
            if row == 0:
                here.set_title(f"level {level}\nnoise {schedule.noise_variances_T[level] ** 0.5:.2f}", fontsize=8)
            if column == 0:
                here.set_ylabel(_name(sampler), fontsize=9)
    return figure


def acceptance(found: Sequence[FoundPlane]) -> Any:
    """The acceptance of the samplers with a test at each level, a panel for each pair, a band over seeds."""
    kept = [one for one in found if one.run.model.has_energy]
    pairs = list(dict.fromkeys(one.run.pair for one in kept))
    forms = list(dict.fromkeys(one.form for one in kept))
    figure, _ = new_figure(2.4 * len(pairs) + 0.8, 2.8)
    figure.clear()
    first: Any = None
    for place, pair in enumerate(pairs):
        first = axes = figure.add_subplot(1, len(pairs), place + 1, facecolor="none", sharey=first)
        for (of_pair, form), seeds in by_place(kept).items():
            if of_pair != pair:
                continue
            for sampler in seeds[0].samplers:
                config = seeds[0].run.samplers.get(sampler)
                if config is None or not config.tested or sampler in seeds[0].refused:
                    continue
                curves = np.stack([one.acceptance_KT[one.samplers.index(sampler)] for one in seeds])
                style: Any = {"color": _colour(sampler, seeds[0].samplers), "linestyle": "-:"[forms.index(form) % 2]}
                label = _name(sampler) if len(forms) == 1 else f"{_name(sampler)}, {_form(form)}"
                levels = np.arange(curves.shape[1])
                axes.plot(levels, curves.mean(axis=0), label=label, linewidth=1.4, **style)
                axes.fill_between(
                    levels, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.15, linewidth=0
                )
                if config.target_acceptance is not None:
                    axes.axhline(config.target_acceptance, color=LINE, linewidth=1, zorder=0)
        axes.invert_xaxis()
        axes.set(title=pair, xlabel="noise level", ylim=(0, 1.02), ylabel="" if place else "acceptance")
        axes.tick_params(labelleft=not place)
    figure.axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def errors(rows: Sequence[PlaneRow]) -> Any:
    """The variance error of every sampler: a panel for each pair, mean over seeds as a bar, each seed as a dot."""
    pairs = list(dict.fromkeys(row.pair for row in rows))
    kept = [row for row in rows if not row.refused and row.sampler != EXACT]
    most = max(sum(row.pair == pair for row in kept) for pair in pairs)
    figure, _ = new_figure(2.5 * len(pairs) + 0.8, 0.24 * most + 1.0)
    figure.clear()
    samplers = list(dict.fromkeys(row.sampler for row in rows))
    for place, pair in enumerate(pairs):
        axes = figure.add_subplot(1, len(pairs), place + 1, facecolor="none")
        here = [row for row in kept if row.pair == pair]
        for at, row in enumerate(here):
            axes.barh(-at, row.mean(), color=_colour(row.sampler, samplers), alpha=1.0 if row.tested else 0.55)
            axes.plot(row.values[JUDGED_BY], [-at] * len(row.values[JUDGED_BY]), ".", color=INK, markersize=4)
        by_chance = [row.mean() for row in rows if row.pair == pair and row.sampler == EXACT]
        axes.axvline(float(np.mean(by_chance)), color=FAINT, linewidth=1, linestyle=":")
        axes.set_yticks([-at for at in range(len(here))], [f"{_name(row.sampler)} ({row.form})" for row in here])
        axes.tick_params(labelsize=8)
        axes.set(title=pair, xlabel="variance error", ylim=(0.6 - most, 0.6), xlim=(0, None))
    figure.subplots_adjust(wspace=0.75)
    return figure


def _first_seeds(found: Sequence[FoundPlane], pair: str) -> list[FoundPlane]:
    return [seeds[0] for (of_pair, _), seeds in by_place(found).items() if of_pair == pair]


def _grid(columns: int, rows: int, side: float) -> tuple[Any, list[list[Any]]]:
    """A figure of square panels, close together; inches of a side."""
    figure, _ = new_figure(side * columns + 0.5, side * rows + 0.4)
    figure.clear()
    axes = [[figure.add_subplot(rows, columns, row * columns + at + 1) for at in range(columns)] for row in range(rows)]
    figure.subplots_adjust(wspace=0.05, hspace=0.05)
    return figure, axes


def _density(cell: FoundPlane) -> np.ndarray:
    """The true density at level 0, coarse, with y first and upwards, from 0 to 1."""
    schedule = cell.run.model.schedule
    signal, noise = schedule.alpha_bars_T[0] ** 0.5, schedule.noise_variances_T[0] ** 0.5
    density_GG = np.exp(truth(cell.run.pair, float(signal), float(noise)).log_density_GG)
    cells = len(density_GG) // COARSE
    coarse_GG = density_GG.reshape(cells, COARSE, cells, COARSE).mean(axis=(1, 3)).T
    return coarse_GG / coarse_GG.max()


def _plane(axes: Any, density: np.ndarray, *, side: float = SHOWN, faint: bool = False) -> None:
    """A panel of the plane with the density in shades of grey."""
    reach = (-HALF_WIDTH, HALF_WIDTH) * 2
    shade = np.sqrt(density) * (0.5 if faint else 1.0) * DARKEST
    axes.imshow(shade, cmap="Greys", vmin=0, vmax=1, origin="lower", extent=reach, interpolation="bilinear")
    axes.set(xlim=(-side, side), ylim=(-side, side), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=LINE)


def _nothing(axes: Any, why: str) -> None:
    axes.text(0.5, 0.5, f"-\n{why}", transform=axes.transAxes, ha="center", va="center", fontsize=7.5, color=INK)


def _corner(axes: Any, text: str) -> None:
    axes.text(0.97, 0.03, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=7, color=INK)


def _short(reason: str) -> str:
    """A refusal in a few words; the whole is in the table."""
    return "needs energies" if "energy" in reason or "scores" in reason else "no finite chains"


def _name(sampler: str) -> str:
    return NAMES.get(sampler, sampler.replace("_", " "))


def _form(form: str) -> str:
    return "score" if form == "score" else f"energy ({form.replace('_', ' ')})"


def _colour(sampler: str, samplers: Sequence[str]) -> str:
    if sampler in COLOURS:
        return COLOURS[sampler]
    others = [name for name in samplers if name not in COLOURS and name != EXACT]
    return OTHER_COLOURS[others.index(sampler) % len(OTHER_COLOURS)]
