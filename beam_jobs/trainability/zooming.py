"""A zoom on the sweep engine: each frame's boundary tiles are one sweep, and what is done is never computed again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beam_jobs.sweep.job import Outlook, outlook, read_cells, run_sweep
from beam_jobs.sweep.planning import check_free
from beam_jobs.trainability.cells import ADDRESS, tile_config
from models.trainability.box_counting import dyadic_dimension, edges_of, local_slopes
from models.trainability.planes import Plane
from models.trainability.refinement import Frame
from models.trainability.windows import Tile
from models.trainability.zoom import Zoom
from shammie.errors import UserError
from shammie.files import digest, exists, join, make_directory, read_bytes, read_json, write_json, writing
from shammie.progress import duration

FRAMES, ABOUT = "frames", "zoom.json"
BOUNDARY_SHARE = 0.4  # of a frame, what is computed of it: about what deep zooms took
RECENT = 4  # frames that tell how long the next will take


class NotDone(Exception):
    """Tiles that are looked up are not all done; `look` tells how far they are."""

    def __init__(self, look: Outlook) -> None:
        super().__init__("not done")
        self.look = look


@dataclass
class Tiles:
    """Computes tiles by sweeps over a store, or only looks them up there.

    Attributes:
        store: a folder of stores of the sweep engine, one for each plane and level.
        plane: what is trained.
        tile_pixels: a tile's side.
        beam_flags: for Beam.
        what: names the progress line; `run_zoom` adds the frame's number.
        only_look: raise `NotDone` instead of computing.
        tiles: so many were asked for.
        pixel_steps: so many steps of training they took.
        seconds: so long took those that were looked up.
    """

    store: str
    plane: Plane
    tile_pixels: int
    beam_flags: Sequence[str] = ()
    what: str = "tiles"
    only_look: bool = False
    tiles: int = field(default=0, init=False)
    pixel_steps: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    def folder(self, *level: int) -> str:
        """Where the plane's tiles lie, or those of a level: a sweep reads all that its store holds, so it is small."""
        name = digest({**self.plane.to_json(), "tile_pixels": self.tile_pixels})[:16]
        return join(self.store, name, *(f"{one:02}" for one in level))

    def __call__(self, tiles: Sequence[Tile]) -> list[np.ndarray]:
        """The values of tiles of one level, [tile_pixels, tile_pixels] each.

        Raises:
            UserError: a tile failed, or the disk has no room for the results.
            NotDone: `only_look`, and some are missing.
        """
        configs = [tile_config(self.plane, self.tile_pixels, tile) for tile in tiles]
        store = self.folder(tiles[0].level)
        if self.only_look:
            look = outlook(store, ADDRESS, configs)
            if look.done < len(configs):
                raise NotDone(look)
            self.seconds += look.seconds_taken
        else:
            run_sweep(store, ADDRESS, configs, self.beam_flags, what=self.what)
        table = read_cells(store, ADDRESS, configs)
        if len(table) < len(tiles):
            raise UserError(f"{len(tiles) - len(table)} of {len(tiles)} tiles failed", "see the dead letters' reasons")
        self.tiles += len(tiles)
        self.pixel_steps += sum(table["pixel_steps"].to_pylist())
        values = table["values"].combine_chunks().flatten().to_numpy()
        return list(values.reshape(len(tiles), self.tile_pixels, self.tile_pixels))


def run_zoom(zoom: Zoom, compute: Tiles, output: str) -> dict[str, Any]:
    """Computes a zoom's frames and writes them, and what was counted on them, into a folder.

    Args:
        zoom: which frames.
        compute: the plane's tiles.
        output: the folder: frames/NN.npy, float32 [side, side] with rows rising with y, and zoom.json, whose "frames"
            are what `about_frame` tells of each.

    Returns:
        What zoom.json holds.

    Raises:
        UserError: the frames and their tiles will not fit on the disk; and see `Zoom.walk` and `Tiles`.
    """
    check_free(output, estimated_bytes(zoom), f"{zoom.frames} frames of {zoom.frame_pixels} pixels", "take less")
    make_directory(join(output, FRAMES))
    frames = []
    before = (0, 0)
    what = compute.what
    compute.what = f"{what}, frame 1 of {zoom.frames}"
    for number, frame in enumerate(zoom.walk(compute.plane, compute)):
        with writing(join(output, FRAMES, f"{number:02}.npy")) as file:
            np.save(file, frame.values.astype(np.float32), allow_pickle=False)
        now = (compute.tiles, compute.pixel_steps)
        frames.append(about_frame(frame, tiles=now[0] - before[0], pixel_steps=now[1] - before[1]))
        before = now
        compute.what = f"{what}, frame {number + 2} of {zoom.frames}"
    compute.what = what
    about = {"plane": compute.plane.to_json(), "zoom": zoom.to_json(), "frames": frames}
    write_json(join(output, ABOUT), about)
    return about


def about_frame(frame: Frame, *, tiles: int, pixel_steps: int) -> dict[str, Any]:
    """Where a frame lies and what was counted on it.

    Returns:
        level, column, row (of its tiles, at its lower left); tiles and pixel_steps that were computed for it;
        tiles_in_all; edges (blocks of 2 x 2 pixels with both signs); diverged_share; slopes (the notebook's local
        ones); dyadic (least squares over powers of two; None without edges).
    """
    edges = edges_of(frame.values)
    dyadic = dyadic_dimension(edges)
    return {
        "level": frame.level,
        "column": frame.column,
        "row": frame.row,
        "tiles": tiles,
        "tiles_in_all": frame.tiles**2,
        "pixel_steps": pixel_steps,
        "edges": int(edges.sum()),
        "diverged_share": float((frame.values > 0).mean()),
        "slopes": local_slopes(edges).tolist(),
        "dyadic": None if np.isnan(dyadic) else dyadic,
    }


def read_zoom(folder: str) -> dict[str, Any]:
    """What zoom.json holds."""
    return read_json(join(folder, ABOUT))


def read_frame(folder: str, number: int) -> np.ndarray:
    """The values of a frame, float32 [side, side], rows rising with y."""
    import io

    return np.load(io.BytesIO(read_bytes(join(folder, FRAMES, f"{number:02}.npy"))), allow_pickle=False)


def zoom_outlook(zoom: Zoom, compute: Tiles) -> str:
    """How far a zoom is and what is left of it, by walking over what is done; "" where nothing is.

    Frames to come are taken to last as long as the latest ones did (`RECENT`).
    """
    ends: list[float] = [0.0]  # seconds at the end of each frame
    if not exists(compute.folder()):
        return ""  # nothing yet: a large first frame need not be listed to know that
    try:
        for _ in zoom.walk(compute.plane, compute):
            ends.append(compute.seconds)
    except NotDone as missing:
        look, done = missing.look, len(ends) - 1
        here = f"{done} of {zoom.frames} frames done; {look.done:,} of {look.done + look.missing:,} tiles of the next"
        recent = ends[-RECENT - 1 :]
        each = (recent[-1] - recent[0]) / max(1, len(recent) - 1)
        if not done:  # a frame is not known yet, only what is left of the tiles in work
            left = "" if look.seconds_left is None else f", about {duration(look.seconds_left)} left of these"
            return here + left
        this = each if look.seconds_left is None else look.seconds_left
        return f"{here}, about {duration(this + each * (zoom.frames - done - 1))} left"
    return f"{len(ends) - 1} of {zoom.frames} frames done"


def estimated_seconds(zoom: Zoom, plane: Plane, *, cores: int = 2) -> float:
    """About how long a zoom takes, before anything is measured: of each frame a share, of that some converges."""
    return 0.6 * _pixels(zoom) * plane.pixel_seconds / cores


def estimated_bytes(zoom: Zoom) -> float:
    """About what a zoom takes on disk: a float64 for each computed pixel, a float32 for each pixel of the frames."""
    return 8 * _pixels(zoom) + 4 * zoom.frames * zoom.frame_pixels**2


def _pixels(zoom: Zoom) -> float:
    """About how many pixels a zoom computes."""
    return zoom.start_pixels**2 + BOUNDARY_SHARE * zoom.frames * zoom.frame_pixels**2
