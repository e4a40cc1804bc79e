"""What every training run has, whatever it trains: one frozen dataclass, checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from models.training import OptimizerConfig, depends_on_length
from shammie.configs import plain
from shammie.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run of the bundled trainer. What a kind of training has besides is in a dataclass that extends this one.

    Attributes:
        optimizer: the optimizer and its schedule.
        batch_size: rows of a step, on all hosts together.
        steps: optimizer steps of the whole run; may be raised later, unless a cosine is fitted to it.
        seed: of the initial parameters and of the order of the rows.
        start_from: a checkpoint of T5X, whose parameters, optimizer state and step the run goes on from; "" for none.
        microbatches: parts of a batch that are computed one after the other.
        mesh_data: devices that share out the batch; 0 for all that `mesh_model` leaves.
        mesh_model: devices that share out each matrix.
        steps_per_call: steps in one compiled loop; it divides the settings of EVERY.
        checkpoint_every: steps between checkpoints; 0 for none but the last.
        keep: checkpoints that are kept.
        log_every: steps between log lines.
        eval_every: steps between validation losses; 0 for none.
        eval_batches: batches of a validation loss, the first of the split; fewer where the split has no more.

    A subclass extends these class attributes with its own fields:
        MAY_CHANGE: fields that may change between a run and its resumption: machine, logging, what is known by its
            content, and the length where no schedule is fitted to it.
        LEAST: the least value of each whole number.
        EVERY: the fields that count steps between two doings of the host.
    """

    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        "start_from",
        "steps",
        "microbatches",
        "mesh_data",
        "mesh_model",
        "steps_per_call",
        "checkpoint_every",
        "keep",
        "log_every",
        "eval_every",
        "eval_batches",
    )
    LEAST: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("batch_size", "steps", "microbatches", "mesh_model", "steps_per_call"), 1),
        **dict.fromkeys(("keep", "log_every", "eval_batches"), 1),
        **dict.fromkeys(("seed", "mesh_data", "checkpoint_every", "eval_every"), 0),
    }
    EVERY: ClassVar[tuple[str, ...]] = ("checkpoint_every", "log_every", "eval_every")

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch_size: int = 32
    steps: int = 1000
    seed: int = 0
    start_from: str = ""
    microbatches: int = 1
    mesh_data: int = 0
    mesh_model: int = 1
    steps_per_call: int = 1
    checkpoint_every: int = 500
    keep: int = 2
    log_every: int = 50
    eval_every: int = 500
    eval_batches: int = 20

    def __post_init__(self) -> None:
        for name, low in self.LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise UserError(f"{type(self).__name__}.{name} is {value!r}", f"give a whole number of {low} or more")
        for name in self.EVERY:
            if getattr(self, name) % self.steps_per_call:
                raise UserError(
                    f"{name}={getattr(self, name)} is no multiple of steps_per_call={self.steps_per_call}",
                    "change one of them: between the steps of one call nothing is logged or saved",
                )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return plain(self)

    def identity(self, **hashes: str) -> dict[str, Any]:
        """What decides each step's result: a checkpoint is only taken up under the same.

        Args:
            hashes: of what the run reads, by name, such as tokens_sha256; an empty one is left out.
        """
        may_change = set(self.MAY_CHANGE) - ({"steps"} if depends_on_length(self.optimizer) else set())
        kept = {name: value for name, value in self.to_json().items() if name not in may_change}
        return {**kept, **{name: value for name, value in hashes.items() if value}}

    def shared_sizes(self) -> Mapping[str, int]:
        """Sizes of matrices by their setting's name, each of which `mesh_model` must divide; a subclass names them."""
        return {}


def check_devices(config: RunConfig, *, devices: int, hosts: int = 1) -> tuple[int, int]:
    """The mesh's two sizes, once everything is known to divide.

    Args:
        config: the run.
        devices: of all hosts.
        hosts: processes.

    Returns:
        Devices along `data`, and along `model`.

    Raises:
        UserError: too few devices, or a batch or matrix that they cannot share evenly.
    """
    model = config.mesh_model
    data = config.mesh_data or devices // model
    if data < 1 or data * model > devices or (hosts > 1 and data * model != devices):
        raise UserError(
            f"a mesh of mesh_data={data} x mesh_model={model} does not fit {devices} devices",
            "make their product the number of devices",
        )
    if hosts > 1 and (devices // hosts) % model:
        raise UserError(
            f"mesh_model={model} does not divide the {devices // hosts} devices of each process",
            "choose a mesh_model that keeps a matrix within one process",
        )
    if config.batch_size % (data * config.microbatches):
        raise UserError(
            f"batch_size={config.batch_size} is no multiple of mesh_data={data} x microbatches={config.microbatches}",
            f"give {-(-config.batch_size // (data * config.microbatches)) * data * config.microbatches}",
        )
    for name, size in config.shared_sizes().items():
        if size % model:
            raise UserError(
                f"{name}={size} is no multiple of mesh_model={model}",
                f"give {-(-size // model) * model} or another mesh_model",
            )
    return data, model
