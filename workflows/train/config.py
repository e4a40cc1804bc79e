"""What a training run is: one frozen dataclass, checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.lm import LMConfig
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig, depends_on_length
from shammie.configs import LATER, plain
from shammie.errors import UserError
from workflows.train.network import check_optimizer

# what may change between a run and its resumption: machine, logging, and the length where no schedule is fitted to it
MAY_CHANGE = (
    "data",
    "start_from",
    "start_params",  # known by its content: see `identity`
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
    "alignment_every",
)


@dataclass(frozen=True)
class TrainConfig:
    """A run of the bundled trainer on a language model.

    Attributes:
        model: the network's sizes.
        optimizer: the optimizer and its schedule.
        data: folder of token files (`seqio_tasks.token_files`), of a dataset of `beam_jobs.equal_info`, or of prompts
            and targets (`seqio_tasks.pairs`), of which only the targets count.
        tokenizer: what the ids must have been made with (a codec's fingerprint or a tokenizer's name); "" for anything.
        length: tokens of a window; of packed examples, of a row.
        batch_size: windows of a step, on all hosts together.
        steps: optimizer steps of the whole run; may be raised later, unless a cosine is fitted to it.
        seed: of the initial parameters and of the order of the windows.
        start_from: a checkpoint of T5X, whose parameters, optimizer state and step the run goes on from; "" for none.
        start_params: a model's file (`models.lm.artefact`, lm.bin) whose parameters a new run begins with, at step 0
            and with a new optimizer state: fine-tuning; "" for parameters drawn from the seed.
        z_loss: weight of the squared log normaliser.
        predicted_from: ids below it are read but not predicted; 1: all but padding.
        microbatches: parts of a batch that are computed one after the other.
        mesh_data: devices that share out the batch; 0 for all that `mesh_model` leaves.
        mesh_model: devices that share out each matrix.
        steps_per_call: steps in one compiled loop; it divides the three `…_every`.
        checkpoint_every: steps between checkpoints; 0 for none but the last.
        keep: checkpoints that are kept.
        log_every: steps between log lines.
        eval_every: steps between validation losses; 0 for none.
        eval_batches: batches of a validation loss, the first of the split; fewer where the split has no more.
        parameterization: how first values, multipliers, learning rates and epsilons follow the model's width
            (arXiv:2407.05872); None leaves them as they are.
        alignment_every: steps between measurements of every layer's log alignment ratios since step 0, on the run's
            first batch (`models.parameterization.alignment`); 0 for none.
    """

    model: LMConfig = field(default_factory=LMConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: str = ""
    tokenizer: str = ""
    length: int = 512
    batch_size: int = 32
    steps: int = 1000
    seed: int = 0
    start_from: str = ""
    start_params: str = ""
    z_loss: float = 1e-4
    predicted_from: int = 1
    microbatches: int = 1
    mesh_data: int = 0
    mesh_model: int = 1
    steps_per_call: int = 1
    checkpoint_every: int = 500
    keep: int = 2
    log_every: int = 50
    eval_every: int = 500
    eval_batches: int = 20
    parameterization: ParameterizationConfig | None = field(default=None, metadata=LATER)
    alignment_every: int = 0

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data is not set", "name a folder of token files or of a dataset of beam_jobs.equal_info")
        if self.start_from and self.start_params:
            raise UserError(
                f"start_from={self.start_from} and start_params={self.start_params}",
                "give one: start_from goes on with a run's optimizer and step, start_params begins anew",
            )
        least = {
            **dict.fromkeys(("length", "batch_size", "steps", "microbatches", "mesh_model", "steps_per_call"), 1),
            **dict.fromkeys(("keep", "log_every", "eval_batches", "predicted_from"), 1),
            **dict.fromkeys(("seed", "mesh_data", "checkpoint_every", "eval_every", "alignment_every"), 0),
        }
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise UserError(f"TrainConfig.{name} is {value!r}", f"give a whole number of {low} or more")
        if not 0 <= self.z_loss < float("inf"):
            raise UserError(f"TrainConfig.z_loss is {self.z_loss!r}", "give 0 or a small number such as 1e-4")
        self._check_parameterization()
        for name in ("checkpoint_every", "log_every", "eval_every", "alignment_every"):
            if getattr(self, name) % self.steps_per_call:
                raise UserError(
                    f"{name}={getattr(self, name)} is no multiple of steps_per_call={self.steps_per_call}",
                    "change one of them: between the steps of one call nothing is logged or saved",
                )

    def _check_parameterization(self) -> None:
        if self.alignment_every and self.start_from:
            raise UserError(
                f"alignment_every={self.alignment_every}, but the parameters before step 0 are not in"
                f" start_from={self.start_from}",
                "set alignment_every=0, or begin with start_params",
            )
        if self.parameterization:
            check_optimizer(self.parameterization, self.optimizer)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that a step trains on."""
        return self.batch_size * self.length

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return plain(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The config that `to_json` wrote."""
        parts: dict[str, Any] = {
            "model": LMConfig(**values["model"]),
            "optimizer": OptimizerConfig(**values["optimizer"]),
        }
        if told := values.get("parameterization"):
            parts["parameterization"] = ParameterizationConfig(**told)
        return cls(**{**values, **parts})

    def identity(self, tokens_sha256: str, start_params_sha256: str = "") -> dict[str, Any]:
        """What decides each step's result: a checkpoint is only taken up under the same.

        Args:
            tokens_sha256: of the training split.
            start_params_sha256: of the file `start_params`; "" where there is none.
        """
        may_change = set(MAY_CHANGE) - ({"steps"} if depends_on_length(self.optimizer) else set())
        kept = {name: value for name, value in self.to_json().items() if name not in may_change}
        begun = {"start_params_sha256": start_params_sha256} if start_params_sha256 else {}
        return {**kept, "tokens_sha256": tokens_sha256, **begun}


def check_devices(config: TrainConfig, *, devices: int, hosts: int = 1) -> tuple[int, int]:
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
    for name in ("heads", "mlp_width", "vocab_size"):
        size = getattr(config.model, name)
        if size % model:
            raise UserError(
                f"model.{name}={size} is no multiple of mesh_model={model}",
                f"give {-(-size // model) * model} or another mesh_model",
            )
    return data, model
