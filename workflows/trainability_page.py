"""A page that pans and zooms through the tiles of a zoom in a browser: a folder that opens from anywhere.

`index.html` holds the script and the list of tiles; `tiles/Z-COLUMN-ROW.png` are pictures whose addresses are those of
`models.trainability.windows`, with tiles as large as the pictures. Nothing needs a network or a server.
"""

import json
from html import escape
from typing import Any

from beam_jobs.trainability.zooming import read_frame, read_zoom
from models.trainability.planes import Plane
from models.trainability.zoom import Zoom
from shammie.files import join, make_directory, write_bytes, writing
from workflows.trainability_film import picture_of, reference_of
from workflows.trainability_viewer import PAGE

INDEX, TILES = "index.html", "tiles"


def write(folder: str, output: str) -> None:
    """Writes the page of a zoom.

    Args:
        folder: of `beam_jobs.trainability.zooming.run_zoom`.
        output: gets index.html and tiles/.
    """
    about = read_zoom(folder)
    plane, zoom = Plane.from_json(about["plane"]), Zoom.from_json(about["zoom"])
    make_directory(join(output, TILES))
    levels = []
    for number, frame in enumerate(about["frames"]):
        place = part_place(frame, zoom)
        picture = picture_of(read_frame(folder, number), reference_of(folder, number))
        for row in range(place["side"]):
            for column in range(place["side"]):
                left, top = column * zoom.part_pixels, (place["side"] - 1 - row) * zoom.part_pixels
                part = picture.crop((left, top, left + zoom.part_pixels, top + zoom.part_pixels))
                name = f"{place['level']}-{place['column'] + column}-{place['row'] + row}.png"
                with writing(join(output, TILES, name), sync=False) as file:  # there are hundreds
                    part.save(file, "PNG")
        levels.append(place)
    write_bytes(join(output, INDEX), page(plane, zoom, levels).encode())


def part_place(frame: dict[str, Any], zoom: Zoom) -> dict[str, int]:
    """Where a frame's pictures lie: level, column and row of the first at the lower left, and how many a side.

    A picture is as many tiles a side as a power of two, so that its level is the tiles' less that power.
    """
    tiles = zoom.part_pixels // zoom.tile_pixels
    return {
        "level": frame["level"] - (tiles.bit_length() - 1),
        "column": frame["column"] // tiles,
        "row": frame["row"] // tiles,
        "side": zoom.frame_pixels // zoom.part_pixels,
    }


def page(plane: Plane, zoom: Zoom, levels: list[dict[str, int]]) -> str:
    """The page's HTML."""
    window = plane.window
    x, y = plane.axes
    told = {
        "levels": levels,
        "partPixels": zoom.part_pixels,
        "side": _fraction(window.side),
        "xLow": _fraction(window.x_low),
        "yLow": _fraction(window.y_low),
        "unit": "decades" if window.logarithmic else "",
        "xAxis": x,
        "yAxis": y,
    }
    title = f"{plane.condition}, width {plane.width}, {plane.steps} steps"
    data = json.dumps(told, sort_keys=True).replace("<", "\\u003c")
    return PAGE.replace("@TITLE@", escape(title)).replace("@DATA@", data)


def _fraction(value: Any) -> list[int]:
    return [value.numerator, value.denominator]
