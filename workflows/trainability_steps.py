"""What the steps of `trainability` run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from beam_jobs.trainability.zooming import Tiles, read_frame, read_zoom, run_zoom
from models.trainability import sets
from models.trainability.box_counting import dyadic_dimension, edges_of, notebook_dimension
from models.trainability.planes import Plane
from models.trainability.refinement import Frame, computed_in_full, missed_share
from models.trainability.zoom import Zoom
from shammie.files import write_json
from workflows import trainability_film, trainability_page
from workflows.dag import Running

CELLS = "cells"
FULL, CONTROLS = "full.json", "controls.json"


def zoom(running: Running, beam_flags: Sequence[str]) -> dict[str, Any]:
    """Computes the frames."""
    plane = Plane.from_json(running.config["plane"])
    frames = Zoom.from_json(running.config["zoom"])
    tiles = Tiles(running.shared(CELLS), plane, frames.tile_pixels, beam_flags, what=f"{plane.condition} tiles")
    about = run_zoom(frames, tiles, running.directory)
    return {name: sum(one[name] for one in about["frames"]) for name in ("tiles", "pixel_steps", "edges")}


def compare_with_full(running: Running, beam_flags: Sequence[str]) -> None:
    """Computes every tile of some frames, and writes what refinement saved and missed."""
    folder = running.input("zoom")
    about = read_zoom(folder)
    plane, frames = Plane.from_json(about["plane"]), Zoom.from_json(about["zoom"])
    rows = []
    for number in running.config["frames"]:
        told = about["frames"][number]
        values = read_frame(folder, number)
        side = frames.frame_pixels // frames.tile_pixels
        nothing = np.zeros((side, side), bool)
        refined = Frame(told["level"], told["column"], told["row"], values.astype(float), nothing)
        tiles = Tiles(running.shared(CELLS), plane, frames.tile_pixels, beam_flags, what=f"frame {number} in full")
        full = computed_in_full(refined, tiles).values
        edges, full_edges = edges_of(values), edges_of(full)
        rows.append(
            {
                "frame": number,
                "pixel_steps": told["pixel_steps"],
                "tiles": told["tiles"],
                "full_pixel_steps": tiles.pixel_steps,
                "full_tiles": tiles.tiles,
                "cheaper_ratio": tiles.pixel_steps / max(1, told["pixel_steps"]),
                "edges": int(edges.sum()),
                "full_edges": int(full_edges.sum()),
                "missed_share": missed_share(values, full),
                "dimension": _number(notebook_dimension(edges)),
                "full_dimension": _number(notebook_dimension(full_edges)),
            }
        )
    write_json(running.path(FULL), rows)


def view(running: Running) -> None:
    """Writes the film, and the page that pans and zooms."""
    folder = running.input("zoom")
    film, steps = running.config["film_pixels"], running.config["film_steps"]
    trainability_film.write(folder, running.path(trainability_film.FILM), pixels=film, steps=steps)
    trainability_page.write(folder, running.directory)


def count_controls(running: Running) -> None:
    """Counts boxes on sets whose dimension is known."""
    side = running.config["pixels"]
    depth = side.bit_length() - 1
    place = (np.arange(side) + 0.5) / side
    rates = np.meshgrid(10 ** (9 * place - 3), 10 ** (9 * place - 3))
    left, low, width = sets.NOTEBOOK_MANDELBROT
    plane = np.meshgrid(np.linspace(left, left + width, side), np.linspace(low, low + width, side))
    images = {
        "line": (1.0, sets.line(side)),
        "circle": (1.0, sets.circle(side)),
        "quadratic": (1.0, edges_of(sets.quadratic_values(*rates))),
        "sierpinski_triangle": (float(np.log2(3)), sets.sierpinski_triangle(depth)),
        "sierpinski_carpet": (
            float(np.log(8) / np.log(3)),
            sets.sierpinski_carpet(round(depth * np.log(2) / np.log(3))),
        ),
        "noise": (2.0, sets.noise(side)),
        "mandelbrot": (2.0, edges_of(sets.mandelbrot_values(*plane))),
    }
    rows = {
        name: {"theory": theory, "notebook": notebook_dimension(image), "dyadic": dyadic_dimension(image)}
        for name, (theory, image) in images.items()
    }
    write_json(running.path(CONTROLS), rows, sort_keys=False)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
