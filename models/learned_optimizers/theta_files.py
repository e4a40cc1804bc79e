"""Meta-trained weights of our own, as files: a line of JSON that says whose they are, then MessagePack. No pickle."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np

from models.learned_optimizers.interface import LearnedOptimizer, Theta
from models.learned_optimizers.mlp import MLPConfig, mlp
from models.learned_optimizers.released import checked_shapes, file_of, load_released, read
from models.learned_optimizers.star import AdafactorMLPConfig, StarConfig, adafactor_mlp, star
from models.learned_optimizers.velo import VeloConfig, velo
from models.training.model_file import arrays_of, check_arrays
from shammie import files
from shammie.errors import UserError, unknown
from shammie.files import canonical_json, json_object_of

FORMAT = "shammie learned optimizer 1"
_CURE = "meta-train some with `shammie run star`, or name another file"
_MAKERS = {
    "velo": (velo, VeloConfig),
    "star": (star, StarConfig),
    "adafactor_mlp": (adafactor_mlp, AdafactorMLPConfig),
    "mlp": (mlp, MLPConfig),
}


class Weights(NamedTuple):
    """Meta-trained weights: the optimizer they are of, theta, and what made them (JSON values)."""

    optimizer: LearnedOptimizer
    theta: Theta
    made_with: Mapping[str, Any]


def learned_optimizer(name: str, **config: Any) -> LearnedOptimizer:
    """The learned optimizer of a name, with fields of its config.

    Raises:
        UserError: no such optimizer or field.
    """
    if name not in _MAKERS:
        raise unknown("learned optimizer", name, _MAKERS)
    make, kind = _MAKERS[name]
    for field in config:
        if field not in kind.__dataclass_fields__:
            raise unknown(f"field of {kind.__name__}", field, kind.__dataclass_fields__)
    tuples = {field: tuple(value) if isinstance(value, list) else value for field, value in config.items()}
    return make(kind(**tuples))


def to_bytes(optimizer: LearnedOptimizer, theta: Theta, made_with: Mapping[str, Any] | None = None) -> bytes:
    """The weights as bytes; the same ones always give the same.

    Args:
        optimizer: whose they are.
        theta: the weights.
        made_with: JSON values that say where they come from: gin, seed, steps.
    """
    checked_shapes(optimizer, theta, "theta")
    body = flax.serialization.msgpack_serialize(_sorted(jax.tree.map(lambda x: np.asarray(x, np.float32), theta)))
    header = {
        "format": FORMAT,
        "optimizer": optimizer.name,
        "config": asdict(optimizer.config),
        "made_with": dict(made_with or {}),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return canonical_json(header).encode() + b"\n" + body


def from_bytes(data: bytes, name: str = "the file") -> Weights:
    """The weights that `to_bytes` wrote.

    Raises:
        UserError: it is something else, is damaged, or is of another architecture than it says.
    """
    line, _, body = data.partition(b"\n")
    try:
        header = json_object_of(line)
        told, digest = header["format"], header["sha256"]
        kind, config, made_with = header["optimizer"], header["config"], header["made_with"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name} has no learned optimizer's weights", _CURE) from error
    if told != FORMAT:
        raise UserError(f"{name} is of format {told!r:.60}, this release reads {FORMAT!r}", _CURE)
    if hashlib.sha256(body).hexdigest() != digest:
        raise UserError(f"{name} is damaged: its checksum does not match", "copy it again from where it was made")
    if not isinstance(kind, str) or not isinstance(config, dict) or not isinstance(made_with, dict):
        raise UserError(f"{name} has no learned optimizer's weights", _CURE)
    try:
        theta = arrays_of(body)
    except ValueError as error:
        raise UserError(f"{name} holds {error}", _CURE) from error
    try:
        optimizer = learned_optimizer(kind, **config)
    except UserError as error:
        raise UserError(f"{name}: {error.problem}", error.cure) from error
    except (TypeError, ValueError, OverflowError) as error:  # values of a wrong kind
        raise UserError(f"{name} has a config that cannot be: {str(error).partition(chr(10))[0]}", _CURE) from error
    due = lambda: jax.eval_shape(optimizer.init_theta, jax.random.key(0))  # noqa: E731
    check_arrays(theta, config, due, name, f"a {optimizer.name}", "it is of another architecture")
    checked_shapes(optimizer, theta, name)
    return Weights(optimizer, theta, made_with)


def save(path: str, optimizer: LearnedOptimizer, theta: Theta, made_with: Mapping[str, Any] | None = None) -> None:
    """Writes weights to a file, local or remote, whole or not at all."""
    files.write_bytes(path, to_bytes(optimizer, theta, made_with))


def load(path: str) -> Weights:
    """Weights from a file: our own format, or a released checkpoint (`released`) or its folder.

    Raises:
        UserError: nothing is there, or it is neither.
    """
    file = file_of(path)
    data = read(file)
    if data.startswith(b"{"):
        return from_bytes(data, file)
    found = load_released(path)
    return Weights(found.optimizer, found.theta, {"released": path, "step": found.step})


def _sorted(tree: Any) -> Any:
    return {name: _sorted(tree[name]) for name in sorted(tree)} if isinstance(tree, Mapping) else tree
