"""Trained parameters as bytes: a line of JSON that says what they are, then the parameters in MessagePack."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from shammie.errors import UserError
from shammie.files import canonical_json, json_object_of

Config = TypeVar("Config")
MOST_DEPTH = 32  # of groups within groups
MOST_SIZE, MOST_SIZES = 1 << 31, 1000  # of a number in a config, and of a list of them
DEEPEST = 16  # of configs within configs
_OTHER = "it is of another version"
LAYERS = frozenset({"layers", "blocks", "hidden_layers"})  # fields that count what has arrays of its own


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
        told = json_object_of(header)
        if told["format"] != format.name:
            raise ValueError(told["format"])
        damaged = hashlib.sha256(body).hexdigest() != told["sha256"]
        config, made_with = config_of(told["config"]), told["made_with"]
        params = None if damaged else arrays_of(body)
        if not isinstance(made_with, dict):
            raise TypeError(made_with)
    except UserError:
        raise
    except Exception as error:  # values of a wrong kind in a config raise many kinds
        raise UserError(
            f"{name} is not {format.what}: {type(error).__name__}", f"give the {format.file} of a run"
        ) from error
    if damaged:
        raise UserError(f"{name} is damaged: its parameters are not those it was written with", "copy it again")
    check_arrays(params, told["config"], lambda: shapes_of(config), name, format.what, f"{_OTHER}: {format.again}")
    return config, params, made_with


def arrays_of(body: bytes) -> dict[str, Any]:
    """The named arrays, and groups of them, that MessagePack holds.

    Raises:
        ValueError: it holds anything else.
    """
    try:
        tree = flax.serialization.msgpack_restore(body)
    except Exception as error:  # MessagePack raises many kinds
        raise ValueError(f"no arrays ({type(error).__name__})") from error
    if not isinstance(tree, dict) or not _holds_arrays(tree, MOST_DEPTH):
        raise ValueError("something else than named arrays of numbers")
    return tree


def _holds_arrays(tree: Any, depth: int) -> bool:
    if isinstance(tree, dict):
        return depth > 0 and all(isinstance(name, str) and _holds_arrays(one, depth - 1) for name, one in tree.items())
    if not isinstance(tree, np.ndarray | np.generic):
        return False
    return tree.dtype == np.bool_ or jnp.issubdtype(tree.dtype, np.number)


def check_arrays(params: Any, sizes: Any, shapes_of: Callable[[], Any], name: str, what: str, cure: str) -> None:
    """Passes if arrays are those of a network of some sizes.

    Args:
        params: a pytree of arrays.
        sizes: the network's config, JSON values of whoever wrote the file. Nothing is made before it is seen that they
            can be those of so many arrays: a file of a kilobyte may claim a million layers.
        shapes_of: gives a pytree of what has the shapes that are due.
        name: of the file, for errors.
        what: the network, for errors.
        cure: what to do about others.

    Raises:
        UserError: they are others; the text names the first.
    """
    there = _shapes(params)
    if not _fit(sizes, len(there)):
        raise UserError(f"{name} tells of sizes that {what} of its {len(there)} arrays cannot have", cure)
    try:
        due = _shapes(shapes_of())
    except Exception as error:  # JAX and NumPy raise many kinds for sizes that cannot be
        raise UserError(f"{name} has a config that cannot be: {str(error)[:200]}", cure) from error
    wrong = sorted(path for path in {*there, *due} if there.get(path) != due.get(path))
    if wrong:
        raise UserError(
            f"{name}: {wrong[0]} is {there.get(wrong[0])}, but {what} of its sizes has {due.get(wrong[0])}",
            cure,
        )


def _fit(value: Any, arrays: int, counts: bool = False, depth: int = 0) -> bool:
    """Whether sizes can be those of so many arrays: layers are no more, and nothing is beyond any memory."""
    if depth > DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(_fit(one, arrays, name in LAYERS, depth + 1) for name, one in value.items())
    if isinstance(value, list | tuple):
        return len(value) <= MOST_SIZES and all(_fit(one, arrays, counts, depth + 1) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value <= (arrays if counts else MOST_SIZE)
    return True


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {jax.tree_util.keystr(path): np.shape(x) for path, x in jax.tree.leaves_with_path(tree)}
