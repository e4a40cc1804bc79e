"""The cells of `trainability` on the sweep engine: one cell is one tile of pixels, one pixel one training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from models.trainability.planes import Plane
from models.trainability.windows import Tile
from shammie.errors import UserError

ADDRESS = "beam_jobs.trainability.cells:TILES"
# small groups share a frame's boundary among cores; a thread trains eight pixels at a time, of which some hundreds each
# keep it busy to the end
GROUP_PIXELS, GROUP_SECONDS = 8192, 1.0


def tile_config(plane: Plane, tile_pixels: int, tile: Tile) -> dict[str, Any]:
    """A cell's config: the plane, the tile's side in pixels and its address."""
    return {**plane.to_json(), "tile_pixels": tile_pixels, **tile._asdict()}


class Tiles:
    """The kind: a row has the values of a tile's pixels, row by row from the lowest, and the steps they took."""

    name = "tile"
    version = 1
    schema = pa.schema([("values", pa.list_(pa.float64())), ("pixel_steps", pa.int64())])

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tiles of one plane: a pixel's result has the same bits beside any other pixels."""
        return {**Plane.from_json(config).to_json(), "tile_pixels": config["tile_pixels"]}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """As many tiles as last about a second."""
        pixels = min(GROUP_PIXELS, GROUP_SECONDS / Plane.from_json(config).pixel_seconds)
        return max(1, int(pixels) // config["tile_pixels"] ** 2)

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of a tile whose pixels all converge."""
        return Plane.from_json(config).pixel_seconds * config["tile_pixels"] ** 2

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """A float64 a pixel, and the count."""
        return 8 * config["tile_pixels"] ** 2 + 8

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Any) -> list[dict[str, Any]]:
        """Trains at all pixels of the tiles, as one batch."""
        plane, pixels = Plane.from_json(configs[0]), configs[0]["tile_pixels"]
        tiles = [Tile(*(_whole(one, name) for name in Tile._fields)) for one in configs]
        places = [plane.window.tile_grid(tile, pixels) for tile in tiles]
        values, steps = plane.values(*(np.concatenate(axis) for axis in zip(*places, strict=True)))
        shape = (len(tiles), pixels * pixels)
        return [
            {"values": of_tile, "pixel_steps": int(count)}
            for of_tile, count in zip(values.reshape(shape), steps.reshape(shape).sum(axis=1), strict=True)
        ]


def _whole(config: Mapping[str, Any], name: str) -> int:
    value = config[name]
    if not isinstance(value, int):
        raise UserError(f"a tile's {name} is {value!r}", "give a whole number")
    return value


TILES = Tiles()
