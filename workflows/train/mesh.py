"""Where arrays lie: a mesh of devices, and T5X's rules from logical axis names to its axes.

A rule's name says what an axis of an array means; a parameter's names come from the network, so that the same network
runs on one device, under data parallelism, and with its matrices shared out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.linen import partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA, MODEL = "data", "model"
RULES: tuple[tuple[str, str | None], ...] = (
    ("batch", DATA),
    ("vocab", MODEL),
    ("mlp", MODEL),
    ("heads", MODEL),
    ("embed", None),
    ("kv", None),
    ("joined_kv", MODEL),
    ("relpos_buckets", None),
    ("abspos_buckets", None),
    ("length", None),
    ("layers", None),
    ("stack", None),
    ("mlp_activations", None),
    ("features", None),
    ("classes", None),
)


def make_mesh(data: int, model: int) -> Mesh:
    """A mesh of the first data * model devices; the model axis stays within a process."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))[: data * model]
    return Mesh(np.array(devices).reshape(data, model), (DATA, MODEL))


def sharding(mesh: Mesh, names: tuple[str | None, ...] = ()) -> NamedSharding:
    """The place of an array by its logical axis names; without names it lies whole on every device.

    Raises:
        KeyError: a name that no rule knows.
    """
    rules = {None: None, **dict(RULES)}
    return NamedSharding(mesh, PartitionSpec(*(rules[name] for name in names)))


def batch_sharding(mesh: Mesh, calls: int = 1) -> NamedSharding:
    """The place of a batch's arrays [B, …], or of the batches [n, B, …] of a call of n steps."""
    return sharding(mesh, ("batch",) if calls == 1 else (None, "batch"))


def placed(tree: Any, place: NamedSharding, batch_size: int | None = None) -> Any:
    """A process's arrays on the devices.

    Args:
        tree: arrays on the host: this process's rows of a batch, or what is whole everywhere.
        place: where they are to lie.
        batch_size: rows of all processes together, along the last axis that `place` names; None where it shares none.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, place)

    def one(x: Any) -> jax.Array:
        shape = list(np.shape(x))
        if batch_size is not None:
            shape[len(place.spec) - 1] = batch_size
        return jax.make_array_from_process_local_data(place, np.asarray(x), tuple(shape))

    return jax.tree.map(one, tree)


def axes_of(variables: Any) -> Any:
    """The logical axis names of each parameter, in the parameters' structure: tuples such as ("embed", "mlp").

    Args:
        variables: "params" and "params_axes", or their shapes; without the second no axis has a name.
    """
    if "params_axes" not in variables:
        return jax.tree.map(lambda x: (None,) * len(x.shape), variables["params"])
    names = partitioning.get_axis_names(variables["params_axes"])
    return jax.tree.map(tuple, names, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))


def state_shardings(mesh: Mesh, state: Any, axes: Any) -> Any:
    """The places of a training state's arrays.

    Args:
        mesh: the devices.
        state: a TrainState of arrays or their shapes.
        axes: the logical axis names of its parameters, in their structure.

    Returns:
        A sharding for each leaf: by the names for a parameter and for what the optimizer keeps in a parameter's place
        and shape; whole on every device for all else.
    """
    by_place = {
        _names(path): (leaf.shape, names)
        for (path, leaf), names in zip(
            jax.tree_util.tree_leaves_with_path(state.params),
            jax.tree.leaves(axes, is_leaf=lambda leaf: isinstance(leaf, tuple)),
            strict=True,
        )
    }

    def place(path: Any, leaf: Any) -> NamedSharding:
        names = _names(path)
        for start in range(len(names)):  # an optimizer's leaf has its parameter's path at its end
            shape, axes_of_leaf = by_place.get(names[start:], (None, ()))
            if shape == leaf.shape:
                return sharding(mesh, axes_of_leaf)
        return sharding(mesh)

    return jax.tree_util.tree_map_with_path(place, state)


def _names(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


@contextmanager
def rules_of(mesh: Mesh) -> Iterator[None]:
    """Within it the constraints that the network puts on its activations are heard, if it is traced here."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        yield
