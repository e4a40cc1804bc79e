"""The meta-trained learner that ships as package data, and its limits, which are told without loading it."""

import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, NamedTuple

from shammie.errors import UserError

if TYPE_CHECKING:  # a command's help must not wait for JAX
    from models.in_context.trained import TrainedLearner

FOLDER, NAME = "weights", "learner.bin"


class Limits(NamedTuple):
    """The most that a learner can read of a table: features, classes and labelled rows."""

    features: int
    classes: int
    examples: int


def shipped_learner() -> "TrainedLearner":
    """The learner that ships.

    Raises:
        UserError: its file is missing or damaged.
    """
    from models.in_context.trained import TrainedLearner

    return TrainedLearner.from_bytes(_file().read_bytes(), NAME)


def shipped_limits() -> Limits:
    """What the learner that ships can read; from the first line of its file.

    Raises:
        UserError: that is missing or damaged.
    """
    with _file().open("rb") as file:
        line = file.readline()
    try:
        sizes = json.loads(line)["config"]
        # the last position is for the row that is asked about
        return Limits(int(sizes["features"]), int(sizes["classes"]), int(sizes["examples"]) - 1)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the {NAME} of this package is damaged", "install shammie again") from error


def _file() -> Traversable:
    file = resources.files("models.in_context") / FOLDER / NAME
    if not file.is_file():
        raise UserError(
            f"this package has no {FOLDER}/{NAME}, the learner that ships",
            "install shammie again, or give the learner.bin of a run of in_context",
        )
    return file
