"""A zoom: frames, each half as wide as the one before and within it, towards boundary."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.trainability.planes import Plane
from models.trainability.refinement import PATHS, Compute, Frame, Path, next_part, refined, whole_frame
from shammie.errors import UserError, unknown

PART_PIXELS = 128  # frames start at multiples of so many pixels, or of a quarter of a smaller frame
_COUNTS = {
    "frames": 1,
    "tile_pixels": 2,
    "frame_pixels": 16,
    "start_pixels": 2,
    "margin": 0,
    "rounds": 0,
    "path_seed": 0,
}


@dataclass(frozen=True)
class Zoom:
    """What a zoom is made with.

    Attributes:
        frames: how many; the first shows the whole window, each next one half of its side.
        frame_pixels: a frame's side, a power of two.
        tile_pixels: a tile's side, a power of two. Small tiles follow the boundary more closely, large ones hold more
            of what surrounds it.
        start_pixels: the whole window is computed at so many pixels a side, then refined up to `frame_pixels`.
        margin: see `models.trainability.refinement.refined`.
        rounds: likewise.
        path: where the zoom goes: "random", "balance" or "most" (`models.trainability.refinement.next_part`).
        path_seed: of a random path.
    """

    frames: int = 12
    frame_pixels: int = 512
    tile_pixels: int = 8
    start_pixels: int = 128
    margin: int = 1
    rounds: int = 1
    path: Path = "most"
    path_seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"Zoom.{name} is {value!r}", f"give a whole number of {least} or more")
        for name in ("frame_pixels", "tile_pixels", "start_pixels"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise UserError(f"Zoom.{name} is {getattr(self, name)!r}", "give a power of two")
        if not self.tile_pixels <= self.start_pixels <= self.frame_pixels or 4 * self.tile_pixels > self.frame_pixels:
            raise UserError(
                f"Zoom has tiles of {self.tile_pixels}, a start of {self.start_pixels} and frames of "
                f"{self.frame_pixels} pixels",
                "no part may be larger than the next, and a frame needs four tiles a side",
            )
        if self.path not in PATHS:
            raise unknown("Zoom.path", str(self.path), PATHS)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Zoom":
        """The zoom that a config tells of; other entries are left alone."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def to_json(self) -> dict[str, Any]:
        """The zoom as plain JSON values."""
        return asdict(self)

    @property
    def part_pixels(self) -> int:
        """Frames start at multiples of so many pixels of their own: the sides of a page's pictures."""
        return min(PART_PIXELS, self.frame_pixels // 4)

    @property
    def first_level(self) -> int:
        """The level of the tiles of the first frame."""
        return (self.frame_pixels // self.tile_pixels).bit_length() - 1

    @property
    def last_level(self) -> int:
        """The level of the tiles of the last frame."""
        return self.first_level + self.frames - 1

    @property
    def decades(self) -> float:
        """Decades between the widths of the first and the last frame."""
        return (self.frames - 1) * 0.30102999566398120

    def check(self, plane: Plane) -> None:
        """UserError where the last frame is too deep for float64 in a plane's window."""
        deepest = plane.window.deepest_level(self.tile_pixels)
        if self.last_level > deepest:
            most = deepest - self.first_level + 1
            raise UserError(
                f"a zoom of {self.frames} frames of {self.frame_pixels} pixels is too deep: in float64 neighbouring "
                "pixels become the same number",
                f"with this window and size {most} frames are the most" if most > 0 else "take smaller frames",
            )

    def walk(self, plane: Plane, compute: Compute) -> Iterator[Frame]:
        """Computes the frames, one after another.

        Raises:
            UserError: float64 ends before the last frame, or a frame holds no boundary to go on with.
        """
        self.check(plane)
        frame = whole_frame(compute, (self.start_pixels // self.tile_pixels).bit_length() - 1)
        while frame.level < self.first_level:
            frame = refined(frame, compute, margin=self.margin, rounds=self.rounds)
        yield frame
        tiles, step = self.frame_pixels // self.tile_pixels, self.part_pixels // self.tile_pixels
        for _ in range(1, self.frames):
            column, row = next_part(frame, tiles, step, self.path, seed=self.path_seed)
            frame = refined(frame, compute, column=column, row=row, tiles=tiles, margin=self.margin, rounds=self.rounds)
            yield frame
