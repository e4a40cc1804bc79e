"""A zoom on any runner: python -m beam_jobs.trainability --condition CONDITION --output FOLDER."""

import json
import sys
from collections.abc import Sequence

from shammie.arguments import Parser
from shammie.errors import run_for_people
from shammie.files import join

PROGRAM = "beam_jobs.trainability"


def parser() -> Parser:
    """The job's own flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        description="Images of the boundary between training that converges and that diverges, each half as wide as the"
        " one before: frames/NN.npy and zoom.json in the output folder.",
        epilog="All other flags go to Beam, such as --runner=FlinkRunner. Tiles are kept in the output folder's cells/"
        " and never computed again: the same command resumes, and more frames are added to those that are there.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--output", required=True, help="folder, local or remote")
    add("--condition", default="tanh", help="of the paper, such as tanh_single; or mandelbrot or quadratic, known sets")
    add("--width", type=int, default=16, help="n (default: the paper's 16)")
    add("--steps", type=int, default=500, help="of training at each pixel (default: 500)")
    add("--seed", type=int, default=0, help="of weights and data (default: 0)")
    add("--frames", type=int, default=12, help="how many (default: 12)")
    add("--frame_pixels", type=int, default=512, help="a frame's side, a power of two (default: 512)")
    add("--start_pixels", type=int, default=128, help="side of the image that refinement starts from (default: 128)")
    add("--tile_pixels", type=int, default=8, help="a tile's side (default: 8)")
    add("--path", default="most", help="where the zoom goes: most, balance or random (default: most)")
    add("--path_seed", type=int, default=0, help="of a random path (default: 0)")
    add("--partitionable", action="store_true", help="draw as JAX does now, not as in the paper's notebook")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; what it found goes to stdout as one JSON object."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_for_people(lambda: _work(words), debug="--debug" in words, program=PROGRAM)


def _work(words: Sequence[str]) -> None:
    given, beam_flags = parser().parse_with_flags(words)
    from beam_jobs.trainability.zooming import Tiles, run_zoom  # Beam and numba take seconds to load
    from models.trainability.box_counting import median_over_levels
    from models.trainability.planes import Plane
    from models.trainability.zoom import Zoom

    plane = Plane(given.condition, given.width, given.steps, given.seed, given.partitionable)
    sizes = (given.frames, given.frame_pixels, given.tile_pixels, given.start_pixels)
    zoom = Zoom(*sizes, path=given.path, path_seed=given.path_seed)
    zoom.check(plane)
    tiles = Tiles(join(given.output, "cells"), plane, zoom.tile_pixels, beam_flags, what=f"{plane.condition} tiles")
    about = run_zoom(zoom, tiles, given.output)
    found = median_over_levels([one["slopes"] for one in about["frames"]])
    shown = {"frames": len(about["frames"]), "tiles": tiles.tiles, "pixel_steps": tiles.pixel_steps}
    dimension = {"dimension": found.value, "dimension_low": found.low, "dimension_high": found.high}
    print(json.dumps(shown | dimension, indent=2))


if __name__ == "__main__":
    sys.exit(main())
