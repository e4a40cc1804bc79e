"""What is looked at before T5X begins: the command line's macros, where a run goes on, whether matrices divide.

This module imports no t5x.
"""

import math
import re
import sys
from collections.abc import Sequence
from typing import Any

import gin

from shammie import files
from shammie.errors import UserError, unknown
from workflows.train import exchange
from workflows.train.config import MATRICES

CLASSES = "classes"  # of an in-context learner, its vocabulary


def refuse_unused_macros() -> None:
    """Raises UserError for `--gin.NAME` words that nothing uses; gin itself takes a misspelt macro in silence."""
    text = gin.config_str()
    for word in sys.argv:
        if found := re.match(r"--gin\.(\w+)=", word):
            if not re.search(rf"%{found[1]}\b", text):
                raise unknown("gin macro", found[1], sorted(set(re.findall(r"%([A-Z]\w*)", text))), "(nothing uses it)")


def latest_step(path: str) -> int | None:
    """The step of a T5X checkpoint, or of the newest whole one in a MODEL_DIR; None where there is none."""
    places = [path.rstrip("/"), *(files.join(path, name) for name in files.list_directory(path))]
    steps = {place: re.fullmatch(exchange.PREFIX + r"(\d+)", place.rpartition("/")[2]) for place in places}
    # on a bucket an unfinished checkpoint has its final name already
    whole = [int(one[1]) for place, one in steps.items() if one and exchange.is_whole(place)]
    return max(whole, default=None)


def check_partitions(
    config: Any,
    *,
    num_partitions: int | None,
    submesh: Sequence[int] | None,
    devices: int,
    fixed: int | None = None,
) -> None:
    """Raises UserError where matrices cannot be shared out as asked.

    Args:
        config: of the model; of the sizes in MATRICES and CLASSES those that it has must divide.
        num_partitions: devices that share each matrix, where there is no submesh.
        submesh: their extents along x, y, z and cores.
        devices: of all hosts.
        fixed: what T5X takes instead of num_partitions: on processors, all devices of a process.
    """
    if num_partitions and submesh:
        raise UserError(
            f"NUM_PARTITIONS={num_partitions} has no effect beside SUBMESH={tuple(submesh)}", "set one of them to None"
        )
    name, shared = ("SUBMESH", math.prod(submesh)) if submesh else ("NUM_PARTITIONS", num_partitions or 1)
    if fixed and not submesh:
        if shared not in (1, fixed):
            raise UserError(
                f"NUM_PARTITIONS={shared}: on processors T5X shares matrices over all {fixed} devices of a process",
                f"give {fixed}, or --gin.NUM_PARTITIONS=None --gin.SUBMESH='(1, {shared}, 1, 1)'",
            )
        shared = fixed
    if devices % shared:
        raise UserError(f"{name}: {shared} does not divide {devices} devices", f"choose a divisor: --gin.{name}")
    for matrix in (*MATRICES, CLASSES):
        size = getattr(config, matrix, shared)
        if size % shared:
            raise UserError(
                f"model.{matrix}={size} is no multiple of the {shared} devices that share a matrix",
                f"make it {-(-size // shared) * shared}, or share out otherwise: --gin.{name}",
            )
