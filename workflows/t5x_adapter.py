"""T5X's side of the house: our model, optimizers, data and partitioning under T5X's contracts (google-research/t5x).

gin/t5x/*.gin bind these names; nothing else imports t5x. What a run computes is the bundled trainer's: the same network
(`models.lm`), loss (`models.training.lm_loss`), optimizer (`optimizer_of`) and rows (`seqio_tasks.lm`). B = batch,
L = length of the rows, P = tokens of a prompt, N = new tokens.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.core
import flax.struct
import jax
import jax.numpy as jnp
import optax
import seqio
from absl import app

from models.learned_optimizers.accumulators import Accumulators
from models.learned_optimizers.every_k import EveryKState
from models.learned_optimizers.optax_face import LearnedState
from models.lm import DecoderLM, LMConfig
from models.lm.decoding import Sampling, generate
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig, average, cross_entropy, optimizer_of, packed_batch, schedule_of
from models.training.averaging import AverageState
from seqio_tasks.lm import add_examples_task, add_lm_task
from shammie.errors import UserError
from workflows import t5x_checks, t5x_contract, t5x_errors
from workflows.train.job import Objective
from workflows.train.language_model import LanguageModelObjective
from workflows.train.network import check_optimizer

try:
    from t5x import models as t5x_models  # pyright: ignore[reportMissingImports]
    from t5x import optimizers as t5x_optimizers  # pyright: ignore[reportMissingImports]
    from t5x import partitioning as t5x_partitioning  # pyright: ignore[reportMissingImports]
    from t5x import trainer as t5x_trainer  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise t5x_contract.not_importable(error) from error

t5x_contract.check(t5x_contract.modules_of("t5x"))
app.install_exception_handler(t5x_errors.OneLine())

Params = Any
Batch = Mapping[str, jax.Array]

DEFAULT_OPTIMIZER = OptimizerConfig()
GREEDY = Sampling(temperature=0.0)
FEATURES = {  # T5X's names of a batch's arrays, and those of `lm_loss`
    "decoder_target_tokens": "targets",
    "decoder_input_tokens": "inputs",
    "decoder_loss_weights": "weights",
    "decoder_segment_ids": "segments",
}


class ObjectiveModel(t5x_models.BaseModel):
    """An objective of the bundled trainer under T5X's model contract: the same first values, loss and optimizer.

    What it trains on are the trainer's rows, under the name "targets". A subclass says how it predicts and scores, or
    which batches of T5X's own it takes (`ours`).

    Args:
        objective: what is trained.
        optimizer: the optimizer and its schedule; only training needs it.
        steps: of the whole run, for schedules that are fitted to it.
        microbatches: T5X's Trainer adds up the gradients of so many parts of a batch; each part's mean loss is divided
            by it. As in the bundled trainer parts weigh alike, also where they are padded unequally.
        resident: arrays that every step reads (`workflows.train.Job`); T5X compiles them into its steps.
    """

    FEATURE_CONVERTER_CLS: Any = seqio.PassThroughFeatureConverter

    def __init__(
        self,
        objective: Objective,
        optimizer: OptimizerConfig = DEFAULT_OPTIMIZER,
        *,
        steps: int = 1,
        microbatches: int | None = None,
        resident: Any = (),
    ) -> None:
        super().__init__(OptaxOptimizer(optimizer_of(optimizer, steps, objective.scales())))
        self.objective, self.resident, self._parts = objective, resident, microbatches or 1

    def get_initial_variables(
        self, rng: jax.Array, input_shapes: Mapping[str, Any], input_types: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """New parameters and the names of their axes: "params" and "params_axes"."""
        return flax.core.freeze(dict(self.objective.init(rng)))

    def ours(self, batch: Batch) -> Any:
        """T5X's batch as the objective's."""
        return self.objective.batch_of(batch["targets"], self.resident)

    def loss_fn(
        self, params: Params, batch: Batch, dropout_rng: jax.Array | None
    ) -> tuple[jax.Array, Mapping[str, Any]]:
        """The loss of a batch and the objective's metrics; no dropout."""
        loss, metrics = self.eval_fn(params, batch)
        return loss / self._parts, metrics

    def eval_fn(self, params: Params, batch: Batch) -> tuple[jax.Array, Mapping[str, Any]]:
        """As `loss_fn`, of the batch as a whole."""
        loss, metrics = self.objective.loss(flax.core.unfreeze(params), self.ours(batch))
        return loss, dict(metrics)

    def weights_of(self, params: Params) -> Any:
        """A run's parameters, which T5X freezes, as whoever predicts takes them."""
        return self.objective.weights_of(flax.core.unfreeze(params))


class LanguageModel(ObjectiveModel):
    """A decoder under T5X's model contract; metrics `loss` (nats per token), `z_loss`, `accuracy`.

    Args:
        config: the network's sizes.
        optimizer: the optimizer and its schedule; only training needs it.
        parameterization: how first values, multipliers, learning rates and epsilons follow the width; its checkpoints
            hold a run's parameters, as the bundled trainer's do.
        steps: of the whole run, for schedules that are fitted to it.
        z_loss: weight of the squared log normaliser.
        microbatches: parts of a batch, as `ObjectiveModel` has them.
        prefix: whether examples have "inputs" that are given and "targets" that are predicted; else rows of "targets".
        packed: whether rows are packed prompts and targets as they are stored (`seqio_tasks.pair_rows`); it trains and
            scores, but predicts with `prefix` only.
        prompt_tokens: without `prefix`, the tokens of a row that predictions begin with.
        sampling: how predictions are drawn.
    """

    def __init__(
        self,
        config: LMConfig,
        optimizer: OptimizerConfig = DEFAULT_OPTIMIZER,
        *,
        steps: int = 1,
        z_loss: float = 1e-4,
        microbatches: int | None = None,
        prefix: bool = False,
        packed: bool = False,
        prompt_tokens: int = 16,
        sampling: Sampling = GREEDY,
        parameterization: ParameterizationConfig | None = None,
    ) -> None:
        if parameterization:
            check_optimizer(parameterization, optimizer)
        objective = LanguageModelObjective(config, parameterization=parameterization, z_loss=z_loss)
        super().__init__(objective, optimizer, steps=steps, microbatches=microbatches)
        self.FEATURE_CONVERTER_CLS = seqio.PrefixLMFeatureConverter if prefix else seqio.LMFeatureConverter
        if prefix and packed:
            raise UserError("LanguageModel is given both prefix and packed", "set prefix for examples, packed for rows")
        self.config, self.prefix, self.prompt_tokens, self.sampling = config, prefix, prompt_tokens, sampling
        self.packed = packed
        self.network = DecoderLM(config)

    def ours(self, batch: Batch) -> dict[str, jax.Array]:
        """The arrays of a batch of T5X's own decoders, or of packed rows."""
        return packed_batch(batch["decoder_target_tokens"]) if self.packed else named(batch)

    def score_batch(self, params: Params, batch: Batch, return_intermediates: bool = False) -> Any:
        """The log probability of each row's targets, in nats; float32 [B]."""
        ours = self.ours(batch)
        logits: Any = self.network.apply(
            {"params": self.weights_of(params)}, ours["inputs"], segments_BL=ours.get("segments")
        )
        nats, _ = cross_entropy(logits, ours["targets"])
        scores = -jnp.sum(nats * ours["weights"].astype(jnp.float32), axis=-1)
        return (scores, {}) if return_intermediates else scores

    def predict_batch_with_aux(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Continues each row's prompt.

        Returns:
            The new tokens, int32 [B, N], 0 after a row's end: N = L with `prefix`, else what the prompt leaves of L.
            Beside them their "log_probabilities", float32 [B, N].
        """
        if self.packed:
            raise UserError("rows of packed pairs hold many prompts", "predict with prefix=True and ROWS='examples'")
        inputs_BL = batch["decoder_input_tokens"]
        length = inputs_BL.shape[1]
        if self.prefix:
            lengths_B, prompt, new_tokens = jnp.sum(batch["decoder_causal_attention"], axis=1), length, length
        else:
            prompt = min(self.prompt_tokens + 1, length)  # the start id is read, not shown
            given_B = 1 + jnp.sum(batch["decoder_target_tokens"] > 0, axis=1)  # a short row is given as it is
            lengths_B, new_tokens = jnp.minimum(prompt, given_B), length + 1 - prompt
        key = jax.random.key(0) if rng is None else rng
        weights = self.weights_of(params)
        found = generate(
            self.network, weights, inputs_BL[:, :prompt], lengths_B, key, new_tokens=new_tokens, sampling=self.sampling
        )
        return found.tokens, {"log_probabilities": found.log_probabilities}


def named(batch: Batch) -> dict[str, jax.Array]:
    """The arrays of T5X's batch under the names of `lm_loss`."""
    return {ours: batch[theirs] for theirs, ours in FEATURES.items() if theirs in batch}


@flax.struct.dataclass
class Told:
    """What the trainer tells an optimizer: its own learning rate, which ours does without, and the loss."""

    learning_rate: Any = None
    loss: Any = None


class OptaxOptimizer(t5x_optimizers.OptaxWrapper):
    """An Optax transformation under T5X's optimizer contract; `LossTrainer` tells the loss to one that asks for it."""

    def __init__(self, transformation: optax.GradientTransformation) -> None:
        super().__init__(optax.with_extra_args_support(transformation))
        self.hyper_params = Told()

    def apply_gradient(self, hyper_params: Told, params: Params, state: Any, grads: Params) -> tuple[Params, Any]:
        """The next parameters and state."""
        told = {} if hyper_params.loss is None else {"value": hyper_params.loss}
        updates, states = self.optax_optimizer.update(grads, state.param_states, params, **told)
        return optax.apply_updates(params, updates), t5x_optimizers.OptimizerState(state.step + 1, states)


class LossTrainer(t5x_trainer.Trainer):
    """T5X's Trainer for optimizers whose update depends on the loss, such as learned ones.

    They get `value=`, the mean nats per token of the batch, without the z-loss.
    """

    @functools.cached_property
    def _partitioned_train_step(self) -> Any:
        def step(train_state: Any, batch: Batch) -> tuple[Any, Any]:
            gradient, metrics, _ = t5x_trainer.accumulate_grads_microbatched(
                self._model,
                train_state,
                batch,
                self._get_step_rng(train_state.step),
                self._num_microbatches,
                self._partitioner.data_partition_spec,
            )
            rate = self._learning_rate_fn(train_state.step)
            optimizer = train_state._optimizer.apply_gradient(
                gradient, learning_rate=rate, loss=metrics["loss"].compute()
            )
            after = train_state.replace(_optimizer=optimizer)
            told = {**metrics, "learning_rate": average(rate, 1.0)}
            if self._weight_metrics_computer:
                told |= self._weight_metrics_computer.compute_metrics(gradient, train_state, after)
            return after, told

        places = self._train_state_axes, self._partitioner.data_partition_spec
        return self._partitioner.partition(
            step, in_axis_resources=places, out_axis_resources=(places[0], None), donate_argnums=(0,)
        )


def learning_rate(optimizer: OptimizerConfig, *, steps: int) -> optax.Schedule:
    """The schedule that T5X logs: the one that the optimizer applies by itself."""
    return schedule_of(optimizer, steps)


def lm_task(
    directory: str,
    config: LMConfig,
    *,
    length: int,
    rows: str = "windows",
    seed: int = 0,
    steps: int = 0,
    batch_size: int = 1,
    checkpoints: Sequence[str] = (),
    shown_tokens: int = 0,
    extra_ids: int = 0,
) -> str:
    """Registers the task of a folder of data, and names it.

    Args:
        directory: a dataset of `beam_jobs.equal_info`, a folder of token files, or one of pairs (`seqio_tasks.pairs`).
        config: of the model that is to read it.
        length: tokens of a row.
        rows: "windows" of the whole stream, in the bundled trainer's order (each host makes the stream flat in its
            cache); or "examples", each cut to its first tokens, in T5X's order: the paper's, and what a pod reads.
            Of pairs the windows are rows of packed ones, for a model with `packed`; the examples, which are never
            cut, have inputs and targets, for one with `prefix`.
        seed: of the windows' order where T5X passes none.
        steps: of the run, which the windows' epochs must last for.
        batch_size: of all hosts.
        checkpoints: MODEL_DIR and the checkpoint that a run starts from: the windows go on where the newest left off,
            as they do in the bundled trainer, and need no state of their own in the checkpoint.
        shown_tokens: of each row, whose text T5X's infer writes beside its predictions.
        extra_ids: ids above the codec's that a model may use for itself.

    Raises:
        UserError: no data, a macro on the command line that nothing uses, or ids beyond the model's.
    """
    t5x_checks.refuse_unused_macros()
    if rows not in ("windows", "examples"):
        raise UserError(f"rows is {rows!r}", "give 'windows' or 'examples'")
    if rows == "examples":
        task = add_examples_task(directory, shown_tokens=shown_tokens, extra_ids=extra_ids)
    else:
        done = next((step for step in map(t5x_checks.latest_step, filter(None, checkpoints)) if step is not None), 0)
        task = add_lm_task(
            directory,
            length=length,
            seed=seed,
            first_row=done * batch_size,
            rows=steps * batch_size,
            shown_tokens=shown_tokens,
            extra_ids=extra_ids,
        )
    vocab_size = task.output_features["targets"].vocabulary.vocab_size
    if vocab_size > config.vocab_size:
        raise UserError(
            f"{directory} has ids up to {vocab_size - 1}, beyond the model's vocab_size={config.vocab_size}",
            f"--gin.VOCAB_SIZE={-(-vocab_size // 128) * 128} or more",
        )
    return task.name


def partitioner(config: Any, **settings: Any) -> Any:
    """T5X's PjitPartitioner, once the model's matrices are known to divide.

    Args:
        config: of the model: `LMConfig`, or another with sizes of these names (`t5x_checks.check_partitions`).
        settings: of PjitPartitioner: num_partitions or model_parallel_submesh, and others.

    Raises:
        UserError: the devices or a matrix cannot be shared out so.
    """
    t5x_checks.check_partitions(
        config,
        num_partitions=settings.get("num_partitions"),
        submesh=settings.get("model_parallel_submesh"),
        devices=jax.device_count(),
        fixed=jax.local_device_count() if jax.default_backend() == "cpu" else None,
    )
    return t5x_partitioning.PjitPartitioner(**settings)


def _register_optimizer_states() -> None:
    """Tells T5X how the states of our optimizers lie on the devices; those that it does not know, it refuses."""
    rules = t5x_optimizers.OptaxStatePartitionRules

    def whole(tree: Any) -> Any:
        return jax.tree.map(lambda _: None, tree)

    def factored(state: Any, axes: Any) -> Any:
        # rows and columns are vectors, whole on every device; what is not factored lies as its parameter
        spec = lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec)  # noqa: E731
        full = jax.tree.map(lambda names, v: names if v.ndim == len(names) > 0 and v.size > 1 else None,
                            axes, state.v, is_leaf=spec)  # fmt: skip
        return type(state)(count=None, v_row=whole(state.v_row), v_col=whole(state.v_row), v=full)

    def learned(state: LearnedState, axes: Any) -> LearnedState:
        old = state.accumulators
        averages = Accumulators(
            tuple(axes for _ in old.momentum), tuple(axes for _ in old.rms), whole(old.row), whole(old.col)
        )
        return LearnedState(step=None, skipped=None, accumulators=averages, memory=whole(state.memory))  # pyright: ignore[reportArgumentType]

    def every_k(state: EveryKState, axes: Any) -> EveryKState:
        inner = rules.derive_optax_logical_axes(state.inner, axes)
        return EveryKState(calls=None, gradients=axes, loss=None, inner=inner)  # pyright: ignore[reportArgumentType]

    rules._RULES[LearnedState], rules._RULES[EveryKState] = learned, every_k
    rules._RULES[AverageState] = lambda state, axes: AverageState(updates=None, average=axes)  # pyright: ignore[reportArgumentType]
    rules._RULES[optax.FactoredState] = factored
    rules._RULES[optax.contrib.ReduceLROnPlateauState] = lambda state, axes: whole(state)


_register_optimizer_states()
