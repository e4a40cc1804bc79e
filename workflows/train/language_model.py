"""Language models as a job of the trainer: rows are token ids, int32 [length]; the loss is nats per token."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from models.lm import LMConfig
from models.lm.flops import training_flops_per_token
from models.parameterization.alignment import measure_alignment
from models.parameterization.scaling import ParameterizationConfig, Scales
from models.training import Batch, Metrics, Params, inputs_of, lm_loss, packed_batch
from workflows.train.config import TrainConfig
from workflows.train.data import load, validation_of, windows_of
from workflows.train.job import Evaluate, Job, Objective, Rows
from workflows.train.loop import OnLog, TrainResult, Until, train_job
from workflows.train.network import network_of, params_of, scales_of, weights_of
from workflows.train.run_config import check_devices
from workflows.train.start import params_hash, read_params


@dataclass(frozen=True)
class LanguageModelObjective(Objective):
    """The decoder on token rows.

    Attributes:
        model: the network's sizes.
        length: tokens of a row.
        parameterization: as `TrainConfig` has it.
        z_loss: weight of the squared log normaliser.
        predicted_from: ids below it are read but not predicted.
        packed: whether rows are packed examples (`seqio_tasks.pair_rows`), not windows of a stream.
    """

    model: LMConfig
    length: int = 1
    parameterization: ParameterizationConfig | None = None
    z_loss: float = 1e-4
    predicted_from: int = 1
    packed: bool = False

    @functools.cached_property
    def network(self) -> Any:
        """With `init` and `apply`; under a parameterization it multiplies the parameters first."""
        return network_of(self.model, self.parameterization)

    @property
    def row(self) -> Any:
        """int32 [length]."""
        return jax.ShapeDtypeStruct((self.length,), jnp.int32)

    def init(self, key: jax.Array) -> Any:
        """The first variables."""
        return self.network.init(key, jnp.zeros((1, 2), jnp.int32))

    def batch_of(self, rows: Rows, resident: Any) -> Batch:
        """What `lm_loss` reads."""
        return packed_batch(rows, self.predicted_from) if self.packed else {"targets": rows}

    def loss(self, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        """See `models.training.lm_loss`."""
        return lm_loss(self.network, self.z_loss, predicted_from=self.predicted_from)(params, batch)

    def scales(self) -> Scales | None:
        """The parameterization's."""
        return scales_of(self.network)

    def weights_of(self, params: Params) -> Any:
        """A run's parameters as weights of the plain decoder, which a model's file holds."""
        return weights_of(self.network, params)

    def params_of(self, weights: Any) -> Params:
        """The run's parameters of these weights."""
        return params_of(self.network, weights)

    def measure(self, params_0: Params, params: Params, batch: Batch) -> dict[str, jax.Array]:
        """Log alignment ratios, "alpha/mlp_0/gate" and so on; NaN where there is nothing to measure.

        See `models.parameterization.alignment.measure_alignment`.
        """
        inputs = batch["inputs"] if "inputs" in batch else inputs_of(batch["targets"])
        found = measure_alignment(self.network, params_0, params, inputs, segments_BL=batch.get("segments"))
        return {f"{name}/{layer}": value for layer, told in found.items() for name, value in told.items()}


def objective_of(config: TrainConfig, *, packed: bool = False) -> LanguageModelObjective:
    """What a run trains, on packed examples or on windows of a stream."""
    return LanguageModelObjective(
        config.model, config.length, config.parameterization, config.z_loss, config.predicted_from, packed
    )


def language_model_job(config: TrainConfig, *, validate: bool = True) -> Job:
    """A run on a language model, with its data found and checked.

    Args:
        config: the run.
        validate: whether it is measured on the validation split, where config.eval_every says so.

    Raises:
        UserError: data or the model to start from do not fit the config.
    """
    windows, tokens = windows_of(config, "train")
    packed = tokens.info.row_length > 0

    def start(shapes: Any) -> Any:
        return read_params(config.start_params, config.model, shapes, made_with=tokens.info.made_with)

    return Job(
        config=config,
        objective=objective_of(config, packed=packed),
        load=lambda first, steps: load(config, windows, first, steps),
        unit="tokens",
        units_per_step=config.tokens_per_step,
        flops_per_unit=training_flops_per_token(config.model, config.length),
        validation=validation_of(config, packed=packed) if validate else (),
        validated=("loss", "accuracy"),
        hashes={"tokens_sha256": tokens.info.sha256, "start_params_sha256": params_hash(config.start_params)},
        start=start if config.start_params else None,
        measure_every=config.alignment_every,
    )


def train(
    config: TrainConfig,
    out: str,
    on_log: OnLog | None = None,
    *,
    evaluate: Evaluate | None = None,
    until: Until | None = None,
    what: str = "train",
) -> TrainResult:
    """Trains a language model, or resumes, to config.steps; see `train_job`, which other kinds of training call.

    Args:
        config: the run.
        out: folder of its checkpoints, metrics.jsonl, event files and config.json; made where missing.
        on_log: called with each new row, on process 0.
        evaluate: the model's weights to what every config.eval_every steps is logged, instead of the validation split's
            loss.
        until: told of each row of an evaluation; the run ends there, saved, where it says True.
        what: names the run in its progress line.

    Raises:
        NotFinite: the loss is no longer finite.
        UserError: data, devices, the model to start from or an earlier run in `out` do not fit the config.
        KeyboardInterrupt: the run was asked to stop; it is saved, and resumes when called again.
    """
    # before the data is read, which may take long
    check_devices(config, devices=jax.device_count(), hosts=jax.process_count())
    job = language_model_job(config, validate=evaluate is None)
    return train_job(job, out, on_log, evaluate=evaluate, until=until, what=what)
