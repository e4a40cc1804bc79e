"""A plane of two hyperparameters: which window of it is looked at, what its axes are, and the value of each pixel."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from models.trainability import sets
from models.trainability.conditions import CONDITIONS, check_sizes
from models.trainability.pixels import pixel_values
from models.trainability.problem import problem_of
from models.trainability.windows import PAPER_WINDOW, Window
from shammie.errors import unknown

# sets whose dimension is known, drawn, zoomed and counted like the paper's conditions: the controls
CONTROLS = ("quadratic", "mandelbrot")
_LEFT, _LOW, _SIDE = (Fraction(str(end)) for end in sets.NOTEBOOK_MANDELBROT)
_WINDOWS = {"mandelbrot": Window(_LEFT, _LOW, _SIDE, logarithmic=False)}
_AXES = {
    "mandelbrot": ("real part", "imaginary part"),
    "quadratic": ("log10 first learning rate", "log10 second learning rate"),
    "tanh_offset": ("log10 offset of the input layer's initial weights", "log10 learning rate"),
    "tanh_offset_each_step": ("log10 offset added to the input layer's weights at every step", "log10 learning rate"),
}
# of a step at width 8 on one core, for estimates before anything is measured: for each datum, and besides
_DATUM_SECONDS, _STEP_SECONDS = 6e-9, 3e-8


@dataclass(frozen=True)
class Plane:
    """What is trained at each pixel.

    Attributes:
        condition: one of the paper's (`models.trainability.conditions.CONDITIONS`), or a control: "quadratic",
            "mandelbrot".
        width: n, of the input and of the hidden layer; the paper's is 16.
        steps: of gradient descent at each pixel, or iterations of the control.
        seed: of weights and data.
        partitionable: how JAX draws them: False as it did when the notebook was written, so that at the notebook's
            width and seed 0 its very images come out; True as it does now.
    """

    condition: str = "tanh"
    width: int = 16
    steps: int = 500
    seed: int = 0
    partitionable: bool = False

    def __post_init__(self) -> None:
        if self.condition not in (*CONDITIONS, *CONTROLS):
            raise unknown("condition", self.condition, (*CONDITIONS, *CONTROLS))
        check_sizes(self.width, self.steps, self.seed)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Plane":
        """The plane that a config tells of; other entries are left alone."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def to_json(self) -> dict[str, Any]:
        """The plane as plain JSON values."""
        return asdict(self)

    @property
    def window(self) -> Window:
        """The part of the plane that an unzoomed image shows."""
        return _WINDOWS.get(self.condition, PAPER_WINDOW)

    @property
    def axes(self) -> tuple[str, str]:
        """What the x axis and the y axis are."""
        both = ("log10 learning rate of the input layer", "log10 learning rate of the output layer")
        return _AXES.get(self.condition, both)

    @property
    def pixel_seconds(self) -> float:
        """A rough estimate of a converging pixel's time on one core."""
        if self.condition in CONTROLS:
            return 1e-8 * self.steps
        data = CONDITIONS[self.condition].data_count(self.width)
        return self.steps * (self.width / 8) ** 2 * (data * _DATUM_SECONDS + _STEP_SECONDS)

    def values(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Trains at each of the pixels.

        Args:
            x: hyperparameter of the x axis, [P].
            y: of the y axis, [P].

        Returns:
            The paper's measure, float64 [P], above 0 where training diverged and below where it converged; and the
            steps that were run, int64 [P], fewer than `steps` where the outcome was certain before.
        """
        if self.condition == "mandelbrot":
            found = sets.mandelbrot_values(x, y, iterations=self.steps)
            return found, np.where(found > 0, np.round(1 / np.abs(found)), self.steps).astype(np.int64)
        if self.condition == "quadratic":
            return sets.quadratic_values(x, y), np.ones(len(x), np.int64)
        found = pixel_values(_problem(self), x, y)
        return found.value, found.steps_run.astype(np.int64)


@lru_cache(maxsize=8)
def _problem(plane: Plane) -> Any:
    return problem_of(
        plane.condition, width=plane.width, steps=plane.steps, seed=plane.seed, partitionable=plane.partitionable
    )
