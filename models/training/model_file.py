"""Trained parameters as bytes: a line of JSON that says what they are, then the parameters in MessagePack."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import flax.serialization
import jax
import numpy as np

from shammie.errors import UserError
from shammie.files import canonical_json

Config = TypeVar("Config")


class ModelFormat(NamedTuple):
    """One kind of file.

    Attributes:
        name: its first line says this.
        what: names a model of the kind in errors, with its article.
        file: that a run writes, for errors.
        again: what to do where the file is of another version.
    """

    name: str
    what: str
    file: str
    again: str


def model_bytes(format: ModelFormat, config: Mapping[str, Any], params: Any, made_with: Mapping[str, Any]) -> bytes:
    """A model as bytes; the same one always gives the same.

    Args:
        format: the kind of file.
        config: plain JSON values.
        params: a pytree of arrays, written as float32.
        made_with: JSON values that say where it comes from.
    """
    body = flax.serialization.msgpack_serialize(jax.tree.map(lambda x: np.asarray(x, np.float32), params))
    header = {
        "format": format.name,
        "config": dict(config),
        "made_with": dict(made_with),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return canonical_json(header).encode() + b"\n" + body


def model_of_bytes(
    data: bytes,
    name: str,
    format: ModelFormat,
    config_of: Callable[[Mapping[str, Any]], Config],
    shapes_of: Callable[[Config], Any],
) -> tuple[Config, Any, Mapping[str, Any]]:
    """The config, parameters and origin that `model_bytes` wrote.

    Args:
        data: the bytes.
        name: of their file, for errors.
        format: the kind of file that it should be.
        config_of: JSON values to the config; may raise UserError.
        shapes_of: a config to a pytree of what has the parameters' shapes.

    Raises:
        UserError: the bytes are no such model, are damaged, or their arrays are not those of the config.
    """
    header, _, body = data.partition(b"\n")
    try:
        told = json.loads(header)
        if told["format"] != format.name:
            raise ValueError(told["format"])
        damaged = hashlib.sha256(body).hexdigest() != told["sha256"]
        config, made_with = config_of(told["config"]), told["made_with"]
        params = None if damaged else flax.serialization.msgpack_restore(body)
    except UserError:
        raise
    except Exception as error:  # JSON and MessagePack raise many kinds
        raise UserError(
            f"{name} is not {format.what}: {type(error).__name__}", f"give the {format.file} of a run"
        ) from error
    if damaged:
        raise UserError(f"{name} is damaged: its parameters are not those it was written with", "copy it again")
    there, due = _shapes(params), _shapes(shapes_of(config))
    wrong = sorted(path for path in {*there, *due} if there.get(path) != due.get(path))
    if wrong:
        raise UserError(
            f"{name}: {wrong[0]} is {there.get(wrong[0])}, but {format.what} of its sizes has {due.get(wrong[0])}",
            f"it is of another version: {format.again}",
        )
    return config, params, made_with


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(tree)}
