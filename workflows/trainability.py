"""The `trainability` system: images, zooms and dimensions of the boundary of training (arXiv:2402.06184), as a DAG.

    zoom_CONDITION ─┬─ full_CONDITION (every tile of some frames: what refinement saves and misses)
                    ├─ view_CONDITION (a film, and a page that pans and zooms)
                    └─ … for each plane … ── controls ── report
    zoom_CONDITION_seed_S … (further seeds of a plane) ──┘

The tiles of all zooms are cells of the sweep engine (`beam_jobs.sweep`): kept beside the steps, never computed again.
The functions that the steps run are in `trainability_steps`, the settings in `trainability_settings`, the page in
`trainability_report`.
"""

from collections.abc import Sequence
from typing import Any

from beam_jobs.trainability.zooming import Tiles, estimated_bytes, estimated_seconds, zoom_outlook
from models.trainability.planes import Plane
from models.trainability.zoom import Zoom
from shammie.errors import UserError
from shammie.progress import duration
from workflows import trainability_report, trainability_steps
from workflows.cost_model import Cost, declared
from workflows.dag import Step
from workflows.dag_step import shared_folder
from workflows.trainability_settings import Look, Settings

__all__ = ["Look", "Settings", "steps"]

ENGINE = ("models.trainability", "beam_jobs.trainability", "beam_jobs.sweep")
COUNTING = ("models.trainability.box_counting", "models.trainability.sets")
PICTURES = ("workflows.trainability_film", "workflows.trainability_page", "models.trainability.colours")


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: the data are drawn.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(f"trainability reads no --input (got {input[0]})", "leave it out: its data are drawn at random")
    settings = settings or Settings()
    inputs: dict[str, Step] = {}
    told = []
    for look in settings.looks:
        made = _of_look(look, settings, tuple(beam_flags))
        more = [_zoom(plane, look.zoom, tuple(beam_flags)) for plane in look.planes[1:]]
        inputs |= {_word(step): step for step in (*made.values(), *more)}
        words = {what: _word(step) for what, step in made.items()}
        seeds = [{"seed": seed, "zoom": _word(step)} for seed, step in zip(look.more_seeds, more, strict=True)]
        told.append({"plane": look.plane.to_json(), "zoom": look.zoom.to_json(), "steps": words, "more_seeds": seeds})
    if settings.control_pixels:
        inputs["controls"] = Step(
            "controls", trainability_steps.count_controls, config={"pixels": settings.control_pixels}, code=COUNTING
        )
    code = ("workflows.report", "models.trainability.box_counting", "models.trainability.colours")
    return [Step("report", trainability_report.write, config={"looks": told}, inputs=inputs, code=code)]


def _word(step: Step) -> str:
    """What the report calls one of its inputs."""
    return f"{step.name}_{step.identity[:12]}"


def _zoom(plane: Plane, zoom: Zoom, flags: tuple[str, ...], *, name: str = "") -> Step:
    """The zoom into a plane."""
    config: dict[str, Any] = {"plane": plane.to_json(), "zoom": zoom.to_json()}

    def outlook(out: str) -> str:
        store = shared_folder(out, trainability_steps.CELLS)
        return zoom_outlook(zoom, Tiles(store, plane, zoom.tile_pixels, only_look=True))

    return Step(
        f"zoom_{name or f'{plane.condition}_seed_{plane.seed}'}",
        lambda running: trainability_steps.zoom(running, flags),
        config=config,
        lasts=_lasts(estimated_seconds(zoom, plane)),
        outlook=outlook,
        cost=lambda rates: (
            declared(estimated_seconds(zoom, plane, cores=1)) + Cost(written_bytes=estimated_bytes(zoom))
        ),
        code=ENGINE,
    )


def _lasts(seconds: float) -> str:
    return duration(max(1.0, seconds))


def _of_look(look: Look, settings: Settings, flags: tuple[str, ...]) -> dict[str, Step]:
    """The steps of one plane, named after its condition."""
    plane, zoom, name = look.plane, look.zoom, look.plane.condition
    zoomed = _zoom(plane, zoom, flags, name=name)
    view = Step(
        f"view_{name}",
        trainability_steps.view,
        config={"film_pixels": settings.film_pixels, "film_steps": settings.film_steps},
        inputs={"zoom": zoomed},
        code=PICTURES,
    )
    made = {"zoom": zoomed, "view": view}
    if look.full_frames:
        pixels = zoom.frame_pixels**2 * len(look.full_frames)
        made["full"] = Step(
            f"full_{name}",
            lambda running: trainability_steps.compare_with_full(running, flags),
            config={"frames": list(look.full_frames)},
            inputs={"zoom": zoomed},
            lasts=_lasts(0.3 * pixels * plane.pixel_seconds),
            code=ENGINE,
        )
    return made
