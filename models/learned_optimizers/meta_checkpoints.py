"""Checkpoints of a meta-training: one file, a line of JSON and then MessagePack, replaced as a whole. No pickle."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from models.evolution import MetaState
from models.learned_optimizers.interface import LearnedOptimizer
from models.training.model_file import arrays_of
from shammie import files
from shammie.errors import UserError
from shammie.files import canonical_json, json_object_of

FORMAT = "shammie meta-training 1"


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        path: of the file, for errors.
        segment: the number of the segment that the state is of.
        curve: rows of the points so far.
        leaves: the state's arrays, in the order of its leaves.
    """

    path: str
    segment: int
    curve: list[list[Any]]
    leaves: list[np.ndarray]

    def state(self, like: MetaState) -> MetaState:
        """The state, given one of the same structure, shapes and types.

        Raises:
            UserError: it does not fit.
        """
        places, structure = jax.tree.flatten(like._replace(key=jax.random.key_data(like.key)))
        wanted = [(jnp.shape(place), jnp.result_type(place)) for place in places]
        # counts of steps are int64 outside JAX, which would call them int32
        wanted[-2:] = [((), np.dtype(np.int64))] * 2
        if [(leaf.shape, leaf.dtype) for leaf in self.leaves] != wanted:
            raise UserError(f"{self.path} has other arrays than this meta-training", f"remove {self.path}")
        state: MetaState = jax.tree.unflatten(structure, self.leaves)
        return state._replace(key=jax.random.wrap_key_data(jnp.asarray(state.key)))


def identity_of(optimizer: LearnedOptimizer, config: Any) -> str:
    """What decides a meta-training's numbers, as one word: sha256 of the optimizer and of the whole config."""
    return files.digest(
        {"optimizer": optimizer.name, "optimizer_config": asdict(optimizer.config), "config": asdict(config)}
    )


def write(path: str, identity: str, segment: int, state: MetaState, curve: Sequence[Sequence[Any]]) -> None:
    """Writes a checkpoint, beside the old one and then in its place.

    Args:
        path: of the file.
        identity: of the meta-training.
        segment: the number of the segment that the state is of.
        state: everything that moves.
        curve: the points so far.
    """
    leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    body = flax.serialization.msgpack_serialize({str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)})
    header = {
        "format": FORMAT,
        "identity": identity,
        "segment": segment,
        "leaves": len(leaves),
        "curve": [list(point) for point in curve],
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    files.write_bytes(path, canonical_json(header).encode() + b"\n" + body)


def read(path: str, identity: str) -> Saved | None:
    """The checkpoint in a file; None where there is no file.

    Raises:
        UserError: the file is none, is damaged, or is of another meta-training.
    """
    if not files.exists(path):
        return None
    line, _, body = files.read_bytes(path).partition(b"\n")
    try:
        header = json_object_of(line)
        known, found, digest = header["format"] == FORMAT, header["identity"], header["sha256"]
        segment, curve, count = header["segment"], header["curve"], header["leaves"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no checkpoint of a meta-training", f"remove {path} to begin anew") from error
    if not known or hashlib.sha256(body).hexdigest() != digest:
        raise UserError(f"{path} is damaged or of another release", f"remove {path} to begin anew")
    if found != identity:
        raise UserError(f"{path} is of a meta-training with other settings", f"remove {path}, or name another file")
    try:
        arrays = arrays_of(body)
        if not isinstance(segment, int) or not isinstance(curve, list) or count != len(arrays):
            raise ValueError("a header of other arrays")
        leaves = [np.asarray(arrays[str(i)]) for i in range(count)]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} holds {error}", f"remove {path} to begin anew") from error
    return Saved(path, segment, curve, leaves)
