"""The page and the result of a `trainability` run."""

import base64
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from statistics import median
from typing import Any

from beam_jobs.trainability.zooming import read_frame, read_zoom
from models.rest_em.metrics import t_interval
from models.trainability.box_counting import RUN_LEVELS, Interval, median_over_levels
from models.trainability.colours import colours_of
from models.trainability.planes import CONTROLS, Plane
from models.trainability.zoom import Zoom
from shammie.files import join, read_bytes, read_json, write_bytes, write_json
from workflows.dag import Running
from workflows.provenance import shell_command
from workflows.report import Page, new_figure
from workflows.trainability_film import FILM
from workflows.trainability_page import INDEX
from workflows.trainability_steps import CONTROLS as CONTROLS_FILE
from workflows.trainability_steps import FULL

# arXiv:2402.06184; the sixth condition has one number for what its text and its code read differently
PAPER_DIMENSIONS = {
    "tanh": 1.66,
    "relu": 1.20,
    "identity": 1.17,
    "tanh_minibatch": 1.55,
    "tanh_single": 1.41,
    "tanh_offset": 1.98,
    "tanh_offset_each_step": 1.98,
}
MOST_EMBEDDED_BYTES = 6 << 20
SHOWN_FRAMES = 8


@dataclass(frozen=True)
class Found:
    """What a look came to: its name, its steps' folders, what its zoom's folder tells, and further seeds."""

    name: str
    plane: Plane
    zoom: Zoom
    folders: Mapping[str, str]
    frames: Sequence[Mapping[str, Any]]
    more: Sequence["Found"] = ()

    @property
    def dimension(self) -> Interval:
        """The notebook's: the median of all frames' local slopes."""
        return median_over_levels([one["slopes"] for one in self.frames])

    @property
    def dyadic(self) -> Interval:
        """The median over frames of least squares over powers of two."""
        return median_over_levels([[one["dyadic"]] if one["dyadic"] is not None else [] for one in self.frames])

    @property
    def over_seeds(self) -> Interval | None:
        """The mean of the seeds' dimensions with its 95 % interval (Student's t); None where there is one seed."""
        found = [one.dimension.value for one in (self, *self.more)]
        found = [value for value in found if not math.isnan(value)]
        if len(found) < 2:
            return None
        low, mean, high = t_interval(found)
        return Interval(mean, low, high)

    @property
    def full(self) -> Sequence[Mapping[str, Any]]:
        """The frames that were computed in full as well."""
        return read_json(join(self.folders["full"], FULL)) if "full" in self.folders else []


def write(running: Running) -> None:
    """Writes result.json and report.html."""
    found = _found(running)
    controls = "controls" in running.step.inputs
    counted = read_json(join(running.input("controls"), CONTROLS_FILE)) if controls else {}
    write_json(running.path("result.json"), results(found, counted), sort_keys=False)
    write_bytes(running.path("report.html"), _page(found, counted).render().encode())


def _found(running: Running) -> list[Found]:
    found: list[Found] = []
    for look in running.config["looks"]:
        plane, zoom = Plane.from_json(look["plane"]), Zoom.from_json(look["zoom"])
        name = plane.condition if plane.condition in CONTROLS else f"{plane.condition}_n{plane.width}"
        same = sum(one.name == name or one.name.startswith(f"{name}_") for one in found)
        name = f"{name}_{same + 1}" if same else name
        more = []
        for other in look["more_seeds"]:
            seeded = replace(plane, seed=other["seed"])
            folder = running.input(other["zoom"])
            frames = read_zoom(folder)["frames"]
            more.append(Found(f"{name}_seed_{seeded.seed}", seeded, zoom, {"zoom": folder}, frames))
        folders = {what: running.input(word) for what, word in look["steps"].items()}
        found.append(Found(name, plane, zoom, folders, read_zoom(folders["zoom"])["frames"], more))
    return found


def results(found: Sequence[Found], controls: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The flat result; names start with the condition and n, and a number where two looks share these.

    …_dimension is the median of the local slopes of all frames with its 95 % interval over runs of frames of this one
    path (_low, _high); …_seed_S_dimension that of a further seed S, and …_seeds_dimension the mean of all …_seeds
    seeds with its 95 % interval over them;
    …_dyadic_dimension the median of least squares over powers of two; _paper_dimension what the paper reports;
    _decades how much narrower the last frame is than the first; _tiles_share the share of the frames' tiles that were
    computed; _frame_K_cheaper_ratio how many times the steps of training of a frame in full are those of its refined
    one (frame 0: with the levels above it), and _frame_K_missed_share the share of the full frame's edges that the
    refined one lacks.
    """
    out: dict[str, Any] = {}
    for one in found:
        out |= _bounded(f"{one.name}_dimension", one.dimension) | _bounded(f"{one.name}_dyadic_dimension", one.dyadic)
        for other in one.more:
            out |= _bounded(f"{other.name}_dimension", other.dimension)
        if one.over_seeds:
            out |= {f"{one.name}_seeds": 1 + len(one.more)} | _bounded(f"{one.name}_seeds_dimension", one.over_seeds)
        if one.plane.condition in PAPER_DIMENSIONS:
            out[f"{one.name}_paper_dimension"] = PAPER_DIMENSIONS[one.plane.condition]
        out[f"{one.name}_frames"] = len(one.frames)
        out[f"{one.name}_decades"] = round(one.zoom.decades, 3)
        out[f"{one.name}_converged_share"] = 1 - one.frames[0]["diverged_share"]
        out[f"{one.name}_tiles_share"] = _tiles_share(one)
        out[f"{one.name}_pixel_steps"] = sum(frame["pixel_steps"] for frame in one.frames)
        for row in one.full:
            for what in ("cheaper_ratio", "missed_share"):
                out[f"{one.name}_frame_{row['frame']}_{what}"] = row[what]
    for name, row in controls.items():
        out |= {f"control_{name}_dimension": row["notebook"], f"control_{name}_dyadic_dimension": row["dyadic"]}
        out[f"control_{name}_theory"] = row["theory"]
    return {name: value for name, value in out.items() if not (isinstance(value, float) and math.isnan(value))}


def _bounded(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _page(found: Sequence[Found], controls: Mapping[str, Mapping[str, float]]) -> Page:
    first = found[0]
    page = Page(
        "trainability: the boundary between training that converges and training that diverges",
        f"{len(found)} plane{'s' if len(found) > 1 else ''} of hyperparameters, each pixel a training of its own;"
        f" zooms of up to {max(one.zoom.decades for one in found):.1f} decades. arXiv:2402.06184.",
    )
    value = first.dimension
    page.numbers(
        [
            (f"{value.value:.2f}", f"dimension of {_title(first)} ({value.low:.2f} to {value.high:.2f})"),
            (f"{first.zoom.decades:.1f}", "decades from the first frame to the last"),
            *((f"{row['cheaper_ratio']:.1f} x", _saved(row)) for row in first.full[:1]),
        ]
    )
    _film(page, first)
    _views(page, found)
    _images(page, found)
    _zoomed(page, found)
    _dimensions(page, found)
    _savings(page, found)
    if controls:
        _controls(page, controls)
    _depth(page, found)
    page.section("Made by")
    page.command(shell_command())
    return page


def _saved(row: Mapping[str, Any]) -> str:
    missed = f"{100 * row['missed_share']:.2g} % of its edges missed"
    return f"fewer steps of training in frame {row['frame']} by refining only boundary, {missed}"


def _tiles_share(one: Found) -> float:
    """The share of all frames' tiles that were computed."""
    return sum(frame["tiles"] for frame in one.frames) / sum(frame["tiles_in_all"] for frame in one.frames)


def _title(one: Found) -> str:
    name = one.plane.condition.replace("_", " ")
    return name if one.plane.condition in CONTROLS else f"{name}, n = {one.plane.width}"


def _film(page: Page, one: Found) -> None:
    data = read_bytes(join(one.folders["view"], FILM))
    if len(data) > MOST_EMBEDDED_BYTES:
        return
    page.section(
        "The zoom",
        f"{_title(one)}, {one.plane.steps} steps at each pixel: {len(one.frames)} frames, each half as wide as the one"
        " before. Blue to green converges, red to yellow diverges; dark is slow.",
    )
    source = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
    page.html(f'<p><img alt="a zoom into the boundary" src="{source}" style="border-radius:6px;max-width:100%"></p>')


def _views(page: Page, found: Sequence[Found]) -> None:
    page.section(
        "Pages to pan and zoom",
        "Drag, wheel or pinch; arrows, + and -, PageDown to the next frame, d to dive. The addresses hold from the"
        " run's output directory, where this report lies.",
    )
    links = []
    for one in found:
        folder = os.path.basename(one.folders["view"].rstrip("/"))
        address = escape(f"{folder}/{INDEX}")
        film = escape(f"{folder}/{FILM}")
        links.append(f'<li><a href="{address}">{escape(_title(one))}</a>, <a href="{film}">film</a></li>')
    page.html(f"<ul>{''.join(links)}</ul>")


def _images(page: Page, found: Sequence[Found]) -> None:
    page.section("The planes", "The whole window of each, before any zoom. The square marks the next frame.")
    figure, all_axes = _grid(len(found), max(2, min(3, len(found))))
    for one, axes in zip(found, all_axes, strict=True):
        window = one.plane.window
        left, low, side = (float(end) for end in (window.x_low, window.y_low, window.side))
        picture = colours_of(read_frame(one.folders["zoom"], 0))
        axes.imshow(picture, origin="lower", extent=(left, left + side, low, low + side), interpolation="nearest")
        x, y = one.plane.axes
        axes.set_xlabel(x, fontsize=8)
        axes.set_ylabel(y, fontsize=8)
        axes.set_title(f"{_title(one)}, {one.plane.steps} steps", fontsize=9)
        if len(one.frames) > 1:
            corner = _corner(one, 1)
            axes.add_patch(_square(corner, side / 2))
    page.picture(figure)


def _zoomed(page: Page, found: Sequence[Found]) -> None:
    page.section("On the way down", "Frames of each zoom, titled with the width that they show.")
    for one in found:
        last = len(one.frames) - 1
        count = min(SHOWN_FRAMES, last)
        if not count:
            continue
        numbers = sorted({round(last * (place + 1) / count) for place in range(count)})
        figure, all_axes = _grid(len(numbers), 4)
        side, unit = float(one.plane.window.side), "decades" if one.plane.window.logarithmic else "wide"
        for number, axes in zip(numbers, all_axes, strict=True):
            axes.imshow(colours_of(read_frame(one.folders["zoom"], number)), origin="lower", interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"frame {number}: {side / 2**number:.2g} {unit}", fontsize=8)
        page.picture(figure, f"{_title(one)}. The last frame's lower left corner: {_address(one, last)}.")


def _corner(one: Found, number: int) -> tuple[float, float]:
    frame = one.frames[number]
    x, y = one.plane.window.place(frame["level"], frame["column"], frame["row"])
    return float(x), float(y)


def _address(one: Found, number: int) -> str:
    """A frame's lower left corner to as many digits as matter, from the exact fraction."""
    frame = one.frames[number]
    digits = math.ceil(0.302 * (number + 10)) + 1
    names = ("log10 x", "log10 y") if one.plane.window.logarithmic else ("x", "y")
    both = one.plane.window.place(frame["level"], frame["column"], frame["row"])
    shown = []
    for name, value in zip(names, both, strict=True):
        scaled = round(abs(value) * 10**digits)
        whole, rest = divmod(scaled, 10**digits)
        shown.append(f"{name} = {'-' if value < 0 else ''}{whole}.{rest:0{digits}}")
    return ", ".join(shown)


def _grid(count: int, columns: int) -> tuple[Any, Sequence[Any]]:
    """A figure of so many square axes, and the axes."""
    figure, spare = new_figure(9.6, 9.6 / columns * 1.12 * math.ceil(count / columns))
    spare.remove()
    rows = math.ceil(count / columns)
    all_axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    figure.tight_layout()
    figure.subplots_adjust(wspace=0.35, hspace=0.45)
    return figure, all_axes


def _square(corner: tuple[float, float], side: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, side, side, fill=False, edgecolor="#1c2024", linewidth=1.0)


def _dimensions(page: Page, found: Sequence[Found]) -> None:
    page.section(
        "Dimensions",
        "Box counting on each frame's edges. The notebook's: the median of the local slopes of all frames together, box"
        " sides of 10 pixels and more, not powers of two; biased up on sets made by halving. Least squares over powers"
        " of two: the median over frames. Intervals: 95 %, resampling runs of neighbouring frames"
        f" ({RUN_LEVELS} where there are enough), which share scales. They are of one path: over seeds, where there are"
        " some, the spread is that of other weights and data. The paper's are at n = 16, by hand-picked zooms.",
    )
    page.text(
        "Where a zoom goes decides much, so the path's rule is named: most goes where the boundary is longest, random"
        " to a pixel of boundary drawn by lot, balance where half of the pixels diverge. The shipped settings go by"
        " most, and that was settled after the rules had been tried and their numbers seen: a path that seeks boundary"
        " finds more of it, which may raise the dimension."
    )
    rows = []
    for one in found:
        paper = PAPER_DIMENSIONS.get(one.plane.condition)
        for seed in (one, *one.more):
            title = _title(one) if seed is one else f"{_title(one)}, seed {seed.plane.seed}"
            cells = [_shown(seed.dimension), _shown(seed.dyadic), paper]
            edges = [frame["edges"] for frame in seed.frames]
            rows.append([title, one.plane.steps, one.zoom.path, len(seed.frames), *cells, min(edges), max(edges)])
        if one.over_seeds:
            title = f"{_title(one)}, mean of {1 + len(one.more)} seeds"
            rows.append([title, one.plane.steps, one.zoom.path, None, _shown(one.over_seeds), None, paper, None, None])
    columns = ["plane", "steps", "path", "frames", "notebook's", "powers of two", "paper", "fewest edges", "most edges"]
    page.table(columns, rows)
    figure, axes = new_figure(8.5, 3.4)
    for one in found:
        (drawn,) = axes.plot(_medians(one), marker=".", label=_title(one))
        for seed in one.more:
            axes.plot(_medians(seed), color=drawn.get_color(), linewidth=0.6)
    axes.set_xlabel("frame (each half as wide as the one before)")
    axes.set_ylabel("median local slope")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    page.picture(figure, "A boundary that looks smooth in the whole window need not be: it shows only on the way down.")


def _medians(one: Found) -> list[float]:
    return [median(frame["slopes"]) if frame["slopes"] else math.nan for frame in one.frames]


def _shown(interval: Interval) -> str | None:
    if math.isnan(interval.value):
        return None
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _savings(page: Page, found: Sequence[Found]) -> None:
    rows = [
        [
            f"{_title(one)}, frame {row['frame']}",
            row["tiles"],
            row["full_tiles"],
            round(row["full_tiles"] / max(1, row["tiles"]), 1),
            round(row["cheaper_ratio"], 1),
            row["edges"],
            row["full_edges"],
            round(100 * row["missed_share"], 2),
            round(row["dimension"], 3) if row["dimension"] else None,
            round(row["full_dimension"], 3) if row["full_dimension"] else None,
        ]
        for one in found
        for row in one.full
    ]
    if not rows:
        return
    page.section(
        "What refinement saves, and what it misses",
        "The same frames with every tile computed. Frame 0 counts the coarser levels that lead to it. Missed: edges of"
        " the full frame that the refined one lacks, islands that fell between the pixels of the level above.",
    )
    columns = ["", "tiles", "in full", "tiles, x", "steps, x", "edges", "in full", "missed, %", "dimension", "in full"]
    page.table(columns, rows)
    shares = ", ".join(f"{100 * _tiles_share(one):.0f} % ({_title(one)})" for one in found)
    page.text(f"Tiles that were computed, of all frames together: {shares}. The deeper, the less is saved.", note=True)


def _controls(page: Page, controls: Mapping[str, Mapping[str, float]]) -> None:
    page.section(
        "Known sets",
        "The same two estimators on sets whose dimension is known; a Mandelbrot set that is not zoomed comes out low.",
    )
    rows = [
        [name.replace("_", " "), round(row["theory"], 4), round(row["notebook"], 3), round(row["dyadic"], 3)]
        for name, row in controls.items()
    ]
    page.table(["set", "dimension", "notebook's", "powers of two"], rows)


def _depth(page: Page, found: Sequence[Found]) -> None:
    one = found[0]
    deepest = one.plane.window.deepest_level(one.zoom.tile_pixels)
    most = deepest - one.zoom.first_level + 1
    page.section(
        "Where float64 ends",
        f"Places of pixels are exact fractions; a hyperparameter is rounded once. At {one.zoom.frame_pixels} pixels a"
        f" frame, {most} frames are the most in this window ({(most - 1) * math.log10(2):.1f} decades): then"
        " neighbouring pixels are four of float64's spacings apart, and a deeper zoom is refused. Training rounds at"
        " every step: so narrow an image shows the boundary of training in float64, not in exact numbers.",
    )
    if any(look.plane.condition in CONTROLS for look in found):
        page.text("Planes of known sets are computed and counted the same way.", note=True)
