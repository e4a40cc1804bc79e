"""The paper's conditions: which network learns from how much data, and what the two axes of the picture are.

Source: arXiv:2402.06184 and its notebook (Sohl-Dickstein/fractal). Six conditions, one of them in two readings.
"""

from dataclasses import dataclass
from typing import Literal

from shammie.errors import UserError, unknown

BATCH_SIZE = 16


@dataclass(frozen=True)
class Condition:
    """One experiment of the paper.

    Args:
        activation: of the hidden layer.
        data: how many data: as many as parameters, as the width, or one.
        batch_size: data of a step's gradient, drawn with replacement; None for all. The loss is always over all.
        offset: whether the x axis is a number added to all input-layer weights, once at the start or before each
            step's loss, and the y axis the learning rate of both layers; None where the axes are two learning rates.
        title: in words.
    """

    activation: Literal["tanh", "relu", "identity"]
    data: Literal["parameters", "width", "single"] = "parameters"
    batch_size: int | None = None
    offset: Literal["start", "each_step"] | None = None
    title: str = ""

    def data_count(self, width: int) -> int:
        """How many data there are at a width."""
        return {"parameters": width * width + width, "width": width, "single": 1}[self.data]


CONDITIONS: dict[str, Condition] = {
    "tanh": Condition("tanh", title="tanh, full batch"),
    "relu": Condition("relu", title="ReLU, full batch"),
    "identity": Condition("identity", data="width", title="identity, full batch"),
    "tanh_minibatch": Condition("tanh", batch_size=BATCH_SIZE, title="tanh, minibatches of 16"),
    "tanh_single": Condition("tanh", data="single", title="tanh, one datum"),
    "tanh_offset": Condition("tanh", offset="start", title="tanh, offset of the initial weights (the paper's text)"),
    "tanh_offset_each_step": Condition(
        "tanh", offset="each_step", title="tanh, offset at every step (the notebook's code)"
    ),
}
"""By name. The last two are the two readings of the paper's sixth condition, which differ."""


def condition_of(name: str) -> Condition:
    """A condition by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in CONDITIONS:
        raise unknown("condition", name, CONDITIONS)
    return CONDITIONS[name]


def check_sizes(width: int, steps: int, seed: int) -> None:
    """Raises UserError where a width, a number of steps or a seed cannot be."""
    for name, value, least in (("width", width, 1), ("steps", steps, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{name}={value!r}", f"give a whole number of at least {least}")
