"""Training states in T5X's checkpoint format: runs move between T5X and the bundled trainer, both ways.

T5X writes, by Orbax, {"target": parameters, "state": {"step", "param_states": the Optax state as nested names}}, with
empty states left out. Nothing here imports t5x.
"""

import os
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from models.training import TrainState
from shammie import files
from shammie.errors import UserError

STATE = "state"
PREFIX = "checkpoint_"


def to_t5x(state: TrainState) -> dict[str, Any]:
    """The state as the tree that T5X saves."""
    names = flax.traverse_util.flatten_dict(flax.serialization.to_state_dict(state.optimizer_state))
    return {
        "target": flax.serialization.to_state_dict(state.params),
        "state": {"step": state.step, "param_states": flax.traverse_util.unflatten_dict(names)},
    }


def write(state: TrainState, folder: str) -> str:
    """Writes a state where T5X finds it; returns FOLDER/checkpoint_STEP.

    Raises:
        UserError: there is one already.
    """
    path = files.join(folder, f"{PREFIX}{int(state.step)}")
    if files.exists(path):
        raise UserError(f"{path} exists", "choose another folder, or remove it")
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(_absolute(files.join(path, STATE)), to_t5x(state))
    return path


def read(path: str, like: TrainState) -> TrainState:
    """The state of a T5X checkpoint.

    Args:
        path: a folder checkpoint_STEP.
        like: a state of `jax.ShapeDtypeStruct`, with shardings where the arrays are to lie.

    Raises:
        UserError: no checkpoint, or one of another network or optimizer.
    """
    wanted = to_t5x(like)
    tree = _restored(path, wanted)
    return TrainState(
        tree["state"]["step"].astype(like.step.dtype),
        tree["target"],
        flax.serialization.from_state_dict(
            like.optimizer_state, _with_empty(like.optimizer_state, tree["state"]["param_states"])
        ),
    )


def read_params(path: str, like: Any) -> Any:
    """The parameters of a T5X checkpoint, as `read` gives them with the whole state."""
    return _restored(path, {"target": flax.serialization.to_state_dict(like)})["target"]


def is_whole(path: str) -> bool:
    """Whether a checkpoint was written to its end."""
    try:
        return bool(ocp.utils.is_checkpoint_finalized(_absolute(path)))
    except ValueError:  # not a folder
        return False


def _restored(path: str, wanted: dict[str, Any]) -> dict[str, Any]:
    folder = files.join(path, STATE)
    if not files.exists(folder):
        raise UserError(f"{path} is no checkpoint of T5X", f"name a folder {PREFIX}STEP of its MODEL_DIR")
    with ocp.PyTreeCheckpointer() as checkpointer:
        _compare(path, wanted, checkpointer.metadata(_absolute(folder)))
        return checkpointer.restore(
            _absolute(folder),
            ocp.args.PyTreeRestore(
                item=wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
            ),
        )


def _compare(path: str, wanted: dict[str, Any], metadata: Any) -> None:
    """Raises UserError where the checkpoint lacks an array, or has it in another shape."""
    tree = getattr(metadata, "item_metadata", metadata)
    there: dict[str, Any] = dict(flax.traverse_util.flatten_dict(getattr(tree, "tree", tree), sep="/"))
    asked: dict[str, Any] = dict(flax.traverse_util.flatten_dict(wanted, sep="/"))
    for name, leaf in asked.items():
        what = "network" if name.startswith("target/") else "optimizer"
        cure = f"give the {what}'s settings of the run that wrote it"
        if name not in there:
            raise UserError(f"{path} has no {name}: it is of another {what}", cure)
        found, expected = tuple(there[name].shape), tuple(np.shape(leaf))
        if found != expected:
            raise UserError(f"{path} has {name} of shape {found}, not {expected}: it is of another {what}", cure)


def _with_empty(like: Any, names: Any) -> Any:
    """Nested names of an Optax state, the empty states put back where T5X left them out."""
    empty = {
        path: value
        for path, value in flax.traverse_util.flatten_dict(
            flax.serialization.to_state_dict(like), keep_empty_nodes=True
        ).items()
        if value is flax.traverse_util.empty_node
    }
    return flax.traverse_util.unflatten_dict({**flax.traverse_util.flatten_dict(names), **empty})


def _absolute(path: str) -> str:
    return os.path.abspath(path) if files.is_local(path) else path


def places_of(state: TrainState) -> TrainState:
    """A state's shapes, types and shardings."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
