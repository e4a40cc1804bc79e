"""Workers over devices: each device moves its own, and the sums of the estimate are all they exchange."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from models.evolution.es import Workers
from models.evolution.estimator import WorkersState
from shammie.errors import UserError


def worker_sharding(workers: WorkersState, mesh: Mesh, axis: str = "workers") -> Any:
    """The shardings of an estimator's workers over a mesh axis, in the same structure.

    Args:
        workers: what an estimator's `init` gives, or its shapes.
        mesh: devices.
        axis: the mesh's axis that the workers are spread over.
    """
    first = NamedSharding(mesh, PartitionSpec(axis))
    if not isinstance(workers, Workers):
        return jax.tree.map(lambda _: first, workers)
    second = NamedSharding(mesh, PartitionSpec(None, axis))  # both trajectories of a pair lie on one device
    shardings: Workers = jax.tree.map(lambda _: first, workers)
    return shardings._replace(inner=jax.tree.map(lambda _: second, workers.inner))


def shard_workers(workers: WorkersState, mesh: Mesh, axis: str = "workers") -> WorkersState:
    """The workers spread over the devices of a mesh axis; a jitted `gradient` then runs on all of them.

    Estimates are the same as on one device but for the order of sums: a worker's random numbers follow from its
    number, not from its device.

    Args:
        workers: what an estimator's `init` gives.
        mesh: devices.
        axis: the mesh's axis.

    Raises:
        UserError: the devices do not divide the workers.
    """
    count = (workers.number if hasattr(workers, "number") else workers).shape[0]
    devices = mesh.shape[axis]
    if count % devices:
        raise UserError(f"{count} workers on {devices} devices", f"give a multiple of {devices} particles")
    return jax.device_put(workers, worker_sharding(workers, mesh, axis))
