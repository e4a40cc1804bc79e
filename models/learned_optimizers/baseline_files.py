"""Baseline curves as files: JSON of task name -> [steps[], losses[]], as the reference's benchmark publishes them.

google/learned_optimization keeps such files for its 125 fixed tasks (baselines/data/speedup_over_*.json): for each task
the lower envelope of a sweep over learning rates, in 512 or 2,048 points.
"""

import json
from collections.abc import Mapping

import numpy as np

from models.learned_optimizers.speedup import Envelope
from shammie import files
from shammie.errors import UserError, unknown

_CURE = "give a JSON object of task name -> [steps[], losses[]]"


def read_baselines(path: str) -> dict[str, Envelope]:
    """The curves of a file by task.

    Args:
        path: local or any fsspec address.

    Raises:
        UserError: it is not there, is no such JSON, or a curve's steps do not rise or its numbers are not finite.
    """
    try:
        data = files.read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"no baselines at {path}", "check the path") from error
    return from_bytes(data, path)


def from_bytes(data: bytes, name: str = "the file") -> dict[str, Envelope]:
    """The curves in a file's bytes; errors as of `read_baselines`."""
    try:
        tasks = files.json_of(data)
    except ValueError as error:
        raise UserError(f"{name} is no JSON: {error}", _CURE) from error
    if not isinstance(tasks, dict) or not tasks:
        raise UserError(f"{name} holds no tasks", _CURE)
    return {task: _curve(curve, f"{task} in {name}") for task, curve in tasks.items()}


def baseline_of(baselines: Mapping[str, Envelope], task: str) -> Envelope:
    """The curve of a task.

    Raises:
        UserError: there is none; it names the nearest.
    """
    if task not in baselines:
        raise unknown("task of the baselines", task, baselines)
    return baselines[task]


def to_bytes(baselines: Mapping[str, Envelope]) -> bytes:
    """The same format: one line a task, sorted, so that the same curves always give the same bytes."""
    lines = []
    for task in sorted(baselines):
        steps, losses = (np.asarray(values, np.float64).tolist() for values in baselines[task])
        lines.append(f"{json.dumps(task)}: {json.dumps([steps, losses], allow_nan=False)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _curve(curve: object, name: str) -> Envelope:
    try:
        steps, losses = (np.asarray(values, np.float64) for values in curve)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name} is no pair of lists of numbers", _CURE) from error
    if steps.ndim != 1 or steps.shape != losses.shape or not steps.size:
        raise UserError(f"{name} has {steps.shape} steps and {losses.shape} losses", "give as many of each, in lists")
    if not (np.isfinite(steps).all() and np.isfinite(losses).all()):
        raise UserError(f"{name} has a number that is not finite", "leave that point out")
    if not np.all(np.diff(steps) > 0):
        raise UserError(f"{name} has steps that do not rise", "give them in order")
    # a file of another maker may hold a raw curve; of one that never rises this is the same
    return Envelope(steps, np.minimum.accumulate(losses))
