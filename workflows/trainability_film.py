"""A zoom as a film: an animated WebP between frames that are each half as wide as the one before."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from beam_jobs.trainability.zooming import read_frame, read_zoom
from models.trainability.colours import colours_of
from shammie.files import write_bytes

FILM = "zoom.webp"
FRAME_MS, HOLD_MS = 50, 1500
QUALITY = 55
REFERENCE_PIXELS = 1 << 16  # of each frame


def picture_of(values: np.ndarray, reference: np.ndarray | None = None) -> Any:
    """A frame's picture, as pillow has it: y upwards, in the paper's colours, ranked within the reference."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(colours_of(values, reference)[::-1]))


def reference_of(folder: str, number: int) -> np.ndarray:
    """Pixels of a frame of a zoom and of its neighbours, float32: what its values are ranked in.

    The paper stretches the colours of each image by itself, which makes them jump from frame to frame; one stretch for
    all frames leaves few colours to each. Among neighbours they change slowly.
    """
    last = len(read_zoom(folder)["frames"]) - 1
    frames = (read_frame(folder, near) for near in range(max(0, number - 1), min(last, number + 1) + 1))
    return np.concatenate([frame.ravel()[:: max(1, frame.size // REFERENCE_PIXELS)] for frame in frames])


def write(folder: str, path: str, *, pixels: int, steps: int) -> None:
    """Writes the film of a zoom's folder.

    Args:
        folder: of `beam_jobs.trainability.zooming.run_zoom`.
        path: the film's.
        pixels: its side.
        steps: pictures from one frame to the next, evenly in the logarithm of the width.
    """
    pictures = list(_pictures(folder, pixels, steps))
    durations = [FRAME_MS] * len(pictures)
    durations[0] = durations[-1] = HOLD_MS
    out = io.BytesIO()
    pictures[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        quality=QUALITY,
        method=4,
    )
    write_bytes(path, out.getvalue())


def _pictures(folder: str, pixels: int, steps: int) -> Iterator[Any]:
    """The film's pictures: the wider frame, cropped, with the next one growing out of it."""
    from PIL import Image

    about = read_zoom(folder)
    frames = about["frames"]
    tiles = about["zoom"]["frame_pixels"] // about["zoom"]["tile_pixels"]
    wide = picture_of(read_frame(folder, 0), reference_of(folder, 0))
    for number in range(1, len(frames)):
        narrow = picture_of(read_frame(folder, number), reference_of(folder, number))
        place = inner_place(frames[number - 1], frames[number], tiles)
        for step in range(steps):
            shown = step / steps
            box = view_box(place, shown)
            picture = wide.resize((pixels, pixels), Image.Resampling.BICUBIC, box=_scaled(box, wide.width))
            if step:
                side = round(pixels * 0.5 / (box[2] - box[0]))
                corner = tuple(round((place[axis] - box[axis]) / (box[2] - box[0]) * pixels) for axis in (0, 1))
                inner = narrow.resize((side, side), Image.Resampling.BICUBIC)
                picture.paste(inner, corner, Image.new("L", inner.size, round(255 * shown)))
            yield picture
        wide = narrow
    yield wide.resize((pixels, pixels), Image.Resampling.BICUBIC)


def inner_place(outer: dict[str, Any], inner: dict[str, Any], tiles: int) -> tuple[float, float]:
    """Where the next frame lies in a frame, whose side is 1: its left and its upper end, from the upper left."""
    left = (inner["column"] - 2 * outer["column"]) / (2 * tiles)
    low = (inner["row"] - 2 * outer["row"]) / (2 * tiles)
    return left, 0.5 - low


def view_box(place: tuple[float, float], shown: float) -> tuple[float, float, float, float]:
    """What the film shows on its way from a frame (0) to the next one (1): left, top, right, bottom within the frame.

    The side shrinks evenly in its logarithm, and the point that both frames show at the same place stays there.
    """
    side = 2.0**-shown
    left, top = (2 * (1 - side) * end for end in place)
    return left, top, min(1.0, left + side), min(1.0, top + side)


def _scaled(box: tuple[float, float, float, float], pixels: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = (end * pixels for end in box)
    return left, top, right, bottom
