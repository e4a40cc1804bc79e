"""The page and the result of a `composition` run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from shammie.files import join, read_json, write_bytes, write_json
from workflows import composition_digits_pictures, composition_plane_pictures
from workflows import composition_scenes_pictures as scenes_pictures
from workflows.composition_plane import EXACT, JUDGED_BY, PlaneGrid, checks, found_of, measures, results
from workflows.composition_scenes import IMAGES, REAL, SCORES
from workflows.composition_steps import read_arrays
from workflows.dag import Running
from workflows.parameterization_measures import interval
from workflows.report import Page
from workflows.sweep import read_table

if TYPE_CHECKING:
    from workflows.composition import Settings

SHOWN_MEASURES = {
    JUDGED_BY: "variance error",
    "squared_mmd": "squared MMD",
    "log_likelihood": "log-likelihood (nats)",
    "kl_from_truth": "KL(truth, samples)",
    "kl_from_samples": "KL(samples, truth)",
}


def write(running: Running, settings: "Settings") -> None:
    """Writes result.json and report.html."""
    page = Page(
        "composition: diffusion models composed as densities",
        "Products, mixtures, negations and guidance of learned densities, sampled by MCMC at every noise level: where"
        " the reverse process is wrong, and what corrects it (Reduce, Reuse, Recycle, arXiv:2302.11552).",
    )
    result: dict[str, Any] = {}
    if settings.plane:
        result |= _plane(page, settings.plane, running.input("plane"))
    for name in ("scenes", "captions"):
        if getattr(settings, name):
            result |= _scenes(page, name, running.input(name))
    if settings.digits:
        result |= _guidance(page, settings, running.input("guidance"))
        result |= _tapestry(page, settings, running.input("tapestry"))
    write_json(running.path("result.json"), result, sort_keys=False)
    write_bytes(running.path("report.html"), page.render().encode())


def _plane(page: Page, grid: PlaneGrid, directory: str) -> dict[str, Any]:
    """The 2D table; see `composition_plane.results` for the keys."""
    table = read_table(directory)
    found, rows = found_of(table), measures(table)
    page.section(
        "On the plane",
        "Two models are trained and composed, and the exact composition is known. Samples of each sampler are held"
        " against it. The log-likelihood alone would rank samples that are too concentrated above the truth itself.",
    )
    page.picture(composition_plane_pictures.errors(rows), "Relative error of the samples' covariance, by sampler.")
    lines = []
    for row in rows:
        values = ["-"] * len(SHOWN_MEASURES) if row.refused else [row.mean(name) for name in SHOWN_MEASURES]
        lines.append([row.pair, row.form, row.sampler, *values, row.evaluations or "-"])
    page.table(
        ["pair", "model", "sampler", *SHOWN_MEASURES.values(), "scores a chain"],
        lines,
        ours=[row.tested for row in rows],
        caption=f"Means over {len(grid.seeds)} seed(s). {EXACT}: draws from the truth itself. -: refused, as mixtures"
        " and Metropolis tests need energies. Bold: with a Metropolis test.",
    )
    for pair in grid.pairs:
        page.picture(composition_plane_pictures.clouds(found, pair), f"{pair}: samples over the true density.")
        form = next((one for one in grid.forms if one != "score"), grid.forms[0])
        page.picture(
            composition_plane_pictures.moving(found, pair, form), f"{pair}: chains on their way down the noise levels."
        )
    if any(form != "score" for form in grid.forms):
        page.picture(composition_plane_pictures.acceptance(found), "Acceptance at every noise level.")
    ordering = checks(rows)
    page.text(
        f"{ordering['plane_ordering_holds']} of {ordering['plane_ordering_asked']} orderings of the paper hold here."
    )
    return results(rows)


def _scenes(page: Page, name: str, directory: str) -> dict[str, Any]:
    """Scenes by position or caption.

    - scenes_FORM_SAMPLER_K_accuracy: the share of scenes with all K positions; captions_FORM_SAMPLER_WISH_accuracy that
      with all that is wanted and nothing unwanted; both means over trainings and seeds, ..._low and ..._high 95 %.
    """
    by = "conditions" if name == "scenes" else "wish"
    rows, images = read_json(join(directory, SCORES)), read_arrays(join(directory, IMAGES))
    texts = {
        "scenes": ("Many positions at once", "Each model was told one object's position; it is asked for several."),
        "captions": ("Captions with AND and NOT", "Each model was told a caption of one or two objects."),
    }
    page.section(*texts[name])
    found: dict[tuple[str, str, Any], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["form"], row["sampler"], row[by]), []).append(row)
    out: dict[str, Any] = {}
    lines = []
    for (form, sampler, wish), own in found.items():
        accuracy = interval([row["accuracy"] for row in own])
        word = str(wish).replace(" ", "_").lower()
        key = f"{name}_{sampler if sampler == REAL else f'{form}_{sampler}'}_{word}_accuracy"
        out[key] = accuracy.mean
        if len(own) > 1:
            out |= {f"{key}_low": accuracy.low, f"{key}_high": accuracy.high}
        lines.append([form, sampler, wish, accuracy.mean, own[0].get("evaluations") or "-"])
    page.table(["model", "sampler", by, "right", "scores a chain"], lines)
    if name == "captions":
        page.picture(scenes_pictures.captions_figure(images, rows), "Scenes of each wish.")
    else:
        page.picture(scenes_pictures.accuracy_figure(rows), "Scenes with all conditions, by their number.")
        counts = sorted({row["conditions"] for row in rows})
        for kind in scenes_pictures.names_of(rows):
            page.picture(scenes_pictures.scenes_figure(images, kind, counts), "Crosses: where an object was wished.")
    return {key: value for key, value in out.items() if np.isfinite(value)}


def _guidance(page: Page, settings: "Settings", directory: str) -> dict[str, Any]:
    """Guided digits: digits_FORM_SAMPLER_wWEIGHT_accuracy, ..._frechet, ..._coverage, means over seeds."""
    assert settings.digits is not None
    rows, images = read_json(join(directory, SCORES)), read_arrays(join(directory, IMAGES))
    page.section(
        "Guided by a classifier",
        "A model that knows no labels times a power of a classifier. A second classifier judges the images, and its"
        " features say how far they are from real ones (Frechet distance) and how many of these they cover.",
    )
    out: dict[str, Any] = {}
    lines = []
    for (form, sampler, weight), own in _grouped(rows).items():
        means = {key: float(np.mean([row[key] for row in own])) for key in ("accuracy", "frechet", "coverage")}
        name = "digits_real" if form == REAL else f"digits_{form}_{sampler}_w{weight:g}"
        out |= {f"{name}_{key}": value for key, value in means.items()}
        lines.append([form, sampler, weight, *means.values(), own[0]["evaluations"] or "-"])
    page.table(["model", "sampler", "weight", "right label", "Frechet distance", "coverage", "scores a chain"], lines)
    page.picture(
        composition_digits_pictures.trade_figure(rows), "Fidelity to the label against distance from real images."
    )
    classes = settings.digits.guide.model.condition.size
    page.picture(composition_digits_pictures.guided_figure(images, classes), "A row for each label.")
    return out


def _tapestry(page: Page, settings: "Settings", directory: str) -> dict[str, Any]:
    """Tapestries: tapestry_FORM_SAMPLER_accuracy, the share of windows that the judge gives their label."""
    assert settings.digits is not None
    rows, images = read_json(join(directory, SCORES)), read_arrays(join(directory, IMAGES))
    page.section(
        "Tapestries",
        "Canvases larger than the model's images: a product over overlapping windows, each with its label.",
    )
    page.table(["model", "sampler", "windows right"], [[row["form"], row["sampler"], row["accuracy"]] for row in rows])
    wished_NW = images.pop("wished")
    height = len({corner[0] for corner in settings.digits.corners})
    page.picture(composition_digits_pictures.tapestry_figure(images, wished_NW, height), "Wished labels above.")
    return {f"tapestry_{row['form']}_{row['sampler']}_accuracy": row["accuracy"] for row in rows}


def _grouped(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, float], list[Mapping[str, Any]]]:
    found: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["form"], row["sampler"], row["weight"]), []).append(row)
    return found
