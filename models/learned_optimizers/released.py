"""Weights that the papers' authors released, between their layout and ours.

A checkpoint is Flax's MessagePack of (params, gen_id, step), with the optimizer's settings in a config.gin beside it.
Nothing in either is executed.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from models.learned_optimizers.interface import LearnedOptimizer, Theta
from models.learned_optimizers.released_layouts import KINDS, Kind, kind_of
from models.learned_optimizers.velo import VeloConfig
from shammie import files
from shammie.errors import UserError

NEWEST_VELO = "aug12_continue_on_bigger_2xbs_200kstep_bigproblem_v2_5620"
_NOTHING = object()
WHERE = (
    f"VeLO's are at gs://gresearch/learned_optimization/pretrained_lopts/{NEWEST_VELO}, 9.3 MB: copy its params and "
    "config.gin to one folder (for example with `gsutil cp`) and give that folder"
)


class Released(NamedTuple):
    """What a checkpoint holds: the optimizer with the sizes it was trained with, its theta, and their step number."""

    optimizer: LearnedOptimizer
    theta: Theta
    step: int


def load_velo(path: str) -> Released:
    """VeLO's released weights.

    Args:
        path: the checkpoint, or the folder of `params` and `config.gin`; local or any fsspec address such as gs://.

    Raises:
        UserError: it is not there or cannot be read, or it is of another optimizer or of sizes that do not fit.
    """
    found = load_released(path)
    if found.optimizer.name != "velo":
        raise UserError(f"{path} has the weights of {found.optimizer.name}, not of VeLO", WHERE)
    return found


def load_released(path: str) -> Released:
    """The weights of any of the four optimizers, told apart by their config.gin or else by their arrays.

    Args:
        path: as in `load_velo`.

    Raises:
        UserError: as there.
    """
    path = file_of(path)
    data = read(path)
    beside = files.join(path.rpartition("/")[0] or ".", "config.gin")
    try:
        text = files.read_bytes(beside).decode() if files.exists(beside) else None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{beside} cannot be read: {error}", "copy it again beside the weights") from error
    return from_checkpoint(data, text, path)


def file_of(path: str) -> str:
    """The file that a path of weights means: itself, or `params` in a folder."""
    return _reached(path, lambda: files.join(path, "params") if files.is_directory(path) else path)


def read(path: str) -> bytes:
    """The bytes of a file of weights; errors say where weights are to be had."""
    return _reached(path, lambda: files.read_bytes(path))


def _reached(path: str, look: Callable[[], Any]) -> Any:
    try:
        return look()
    except ImportError as error:
        raise UserError(f"{path} cannot be reached from here: {error}", "install that, or copy the files") from error
    except Exception as error:  # a bucket's file system has errors of its own
        raise UserError(f"no learned optimizer's weights at {path}: {type(error).__name__}", WHERE) from error


def from_checkpoint(data: bytes, config_gin: str | None = None, name: str = "the checkpoint") -> Released:
    """The optimizer and theta in a checkpoint's bytes.

    Args:
        data: the file `params`.
        config_gin: the text of config.gin; None: sizes come from the arrays, and all switches are at their defaults.
        name: for messages.
    """
    try:
        state: Any = flax.serialization.msgpack_restore(data)
        if not isinstance(state, dict):
            raise TypeError(state)
        if "0" in state:  # the oldest weights are a plain triple, and were trained before the LSTM's state was kept
            state = {"params": state["0"], "step": state.get("2", 0), "oldest": True}
        params = state.get("params", state)
        kind = kind_of(params)
    except UserError:
        raise
    except Exception as error:  # MessagePack raises many kinds
        raise UserError(f"{name} is no learned optimizer's checkpoint: {type(error).__name__}", WHERE) from error
    if kind is None:
        raise UserError(f"{name} has the arrays of an unknown optimizer: {', '.join(sorted(params))[:80]}", WHERE)
    try:
        config = kind.sizes(params)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{name} lacks arrays of {kind.name}: {error}", WHERE) from error
    if state.get("oldest") and isinstance(config, VeloConfig):
        config = replace(config, bugged_lstm_state=True)
    if config_gin is not None:
        told = _told(config_gin, kind, name)
        wrong = [field for field, value in told.items() if field in kind.shaped and getattr(config, field) != value]
        if wrong:
            field = wrong[0]
            raise UserError(
                f"{name} has {field} {getattr(config, field)!r}, but its config.gin says {told[field]!r}",
                "the two belong to different optimizers: copy both from one folder",
            )
        config = replace(config, **told)
    optimizer, step = kind.make(config), state.get("step", 0)
    try:
        step = int(step)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} has the step number {step!r}", WHERE) from error
    return Released(optimizer, theta_from(optimizer, params, name), step)


def theta_from(optimizer: LearnedOptimizer, params: Mapping[str, Any], name: str = "the checkpoint") -> Theta:
    """Theta from the released layout, with the shapes checked.

    Raises:
        UserError: an array is missing or has another shape than the optimizer's.
    """
    try:
        theta = KINDS[optimizer.name].to_ours(params, optimizer.config)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{name} lacks arrays of {optimizer.name}: {error}", WHERE) from error
    checked_shapes(optimizer, theta, name)
    return jax.tree.map(lambda x: np.asarray(x, np.float32), theta)


def checked_shapes(optimizer: LearnedOptimizer, theta: Theta, name: str) -> None:
    """Passes if theta has the structure and shapes of the optimizer's.

    Raises:
        UserError: it has others, with the first place where they differ.
    """
    wanted = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    cure = "it is of another architecture: give the sizes that it was trained with"
    if jax.tree.structure(theta) != jax.tree.structure(wanted):
        raise UserError(f"{name} does not have the arrays of {optimizer.name}", cure)
    for (place, want), have in zip(jax.tree.leaves_with_path(wanted), jax.tree.leaves(theta), strict=True):
        if np.shape(have) != want.shape:
            where = jax.tree_util.keystr(place)
            raise UserError(f"{name} has {np.shape(have)} at {where}, {optimizer.name} has {want.shape}", cure)


def to_checkpoint(optimizer: LearnedOptimizer, theta: Theta, step: int = 0) -> bytes:
    """A checkpoint in the released format, which google/learned_optimization can read; the inverse of the above."""
    params = KINDS[optimizer.name].to_theirs(jax.tree.map(np.asarray, theta), optimizer.config)
    return flax.serialization.msgpack_serialize({"params": params, "gen_id": "", "step": step})


def _told(text: str, kind: Kind, name: str) -> dict[str, Any]:
    """What a config.gin says of the optimizer, as fields of our config."""
    told: dict[str, Any] = dict(kind.unsaid)
    for line in text.replace("\\\n", "").splitlines():
        left, equals, right = line.partition("=")
        scope, _, parameter = left.strip().rpartition(".")
        if not equals or line.lstrip().startswith("#"):
            continue
        if scope.endswith("run_train") and parameter == "lopt" and kind.reference not in right:
            raise UserError(f"{name} has arrays of {kind.reference}, but its config.gin is of {right.strip()}", WHERE)
        if scope != kind.reference:
            continue
        try:
            value = ast.literal_eval(right.strip())
        except (ValueError, SyntaxError) as error:
            raise UserError(
                f"config.gin of {name} has {line.strip()!r}", "a plain number or word was expected"
            ) from error
        if parameter in kind.fields:
            field, convert = kind.fields[parameter]
            told[field] = convert(value)
        elif parameter in kind.ignored or kind.fixed.get(parameter, _NOTHING) == value:
            continue
        else:
            wanted = repr(kind.fixed[parameter]) if parameter in kind.fixed else "its default"
            raise UserError(
                f"config.gin of {name} sets {scope}.{parameter} to {value!r}, which is not supported here",
                f"use weights that were trained with {wanted}",
            )
    return told
