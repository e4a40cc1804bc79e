"""What gin files choose of `trainability`: which planes are looked at, and how deep."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from models.trainability.planes import Plane
from models.trainability.zoom import Zoom
from shammie.errors import UserError


@dataclass(frozen=True)
class Look:
    """One plane and the zoom into it.

    Attributes:
        plane: what is trained at each pixel.
        zoom: the frames.
        full_frames: numbers of frames of which every tile is computed as well, to measure what refinement saves and
            what it misses.
        more_seeds: further seeds of weights and data, each with the same zoom into its own plane: one path's frames
            overlap, so what a dimension is worth shows over seeds.
    """

    plane: Plane = field(default_factory=Plane)
    zoom: Zoom = field(default_factory=Zoom)
    full_frames: Sequence[int] = ()
    more_seeds: Sequence[int] = ()

    def __post_init__(self) -> None:
        for number in self.full_frames:
            if not 0 <= number < self.zoom.frames:
                raise UserError(
                    f"Look.full_frames names frame {number} of {self.zoom.frames}",
                    f"frames are numbered 0 to {self.zoom.frames - 1}",
                )
        seeds = [plane.seed for plane in self.planes]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"Look.more_seeds has a seed twice: {seeds}", f"leave {self.plane.seed} and repeats out")
        self.zoom.check(self.plane)

    @property
    def planes(self) -> list[Plane]:
        """The plane, then that of each further seed."""
        return [self.plane, *(replace(self.plane, seed=seed) for seed in self.more_seeds)]


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        looks: the zooms; the first has the report's picture and film.
        film_pixels: side of the films.
        film_steps: pictures from one frame of a film to the next.
        control_pixels: side of the images of known sets, a power of two; 0 leaves them out.
    """

    looks: Sequence[Look] = (Look(),)
    film_pixels: int = 320
    film_steps: int = 8
    control_pixels: int = 1024

    def __post_init__(self) -> None:
        if not self.looks:
            raise UserError("trainability.Settings.looks is empty", "give at least one")
        for name in ("film_pixels", "film_steps"):
            if not getattr(self, name) > 0:
                raise UserError(f"trainability.Settings.{name} is {getattr(self, name)!r}", "give a number above 0")
        if self.control_pixels & (self.control_pixels - 1) or self.control_pixels < 0:
            raise UserError(
                f"trainability.Settings.control_pixels is {self.control_pixels!r}", "give a power of two, or 0"
            )
