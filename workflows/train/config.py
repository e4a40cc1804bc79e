"""What a run on a language model is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from models.lm import LMConfig
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig
from shammie.configs import LATER
from shammie.errors import UserError
from workflows.train.network import check_optimizer
from workflows.train.run_config import RunConfig

MATRICES = ("heads", "mlp_width", "vocab_size")


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """A run of the bundled trainer on a language model; what every run has is said in `RunConfig`.

    Attributes:
        model: the network's sizes.
        data: folder of token files (`seqio_tasks.token_files`), of a dataset of `beam_jobs.equal_info`, or of prompts
            and targets (`seqio_tasks.pairs`), of which only the targets count.
        tokenizer: what the ids must have been made with (a codec's fingerprint or a tokenizer's name); "" for anything.
        length: tokens of a window; of packed examples, of a row.
        start_params: a model's file (`models.lm.artefact`, lm.bin) whose parameters a new run begins with, at step 0
            and with a new optimizer state: fine-tuning; "" for parameters drawn from the seed.
        z_loss: weight of the squared log normaliser.
        predicted_from: ids below it are read but not predicted; 1: all but padding.
        parameterization: how first values, multipliers, learning rates and epsilons follow the model's width
            (arXiv:2407.05872); None leaves them as they are.
        alignment_every: steps between measurements of every layer's log alignment ratios since step 0, on the run's
            first batch (`models.parameterization.alignment`); 0 for none.
    """

    # start_params is known by its content, whose hash is in the identity
    MAY_CHANGE: ClassVar[tuple[str, ...]] = (*RunConfig.MAY_CHANGE, "data", "start_params", "alignment_every")
    LEAST: ClassVar[Mapping[str, int]] = {
        **RunConfig.LEAST,
        **{"length": 1, "predicted_from": 1, "alignment_every": 0},
    }
    EVERY: ClassVar[tuple[str, ...]] = (*RunConfig.EVERY, "alignment_every")

    model: LMConfig = field(default_factory=LMConfig)
    data: str = ""
    tokenizer: str = ""
    length: int = 512
    start_params: str = ""
    z_loss: float = 1e-4
    predicted_from: int = 1
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
        super().__post_init__()
        if not 0 <= self.z_loss < float("inf"):
            raise UserError(f"TrainConfig.z_loss is {self.z_loss!r}", "give 0 or a small number such as 1e-4")
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

    def shared_sizes(self) -> Mapping[str, int]:
        """The sizes of the model's matrices."""
        return {f"model.{name}": getattr(self.model, name) for name in MATRICES}

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
