"""Diffusion models under T5X: the bundled trainer's objective and rows, on T5X's own commands.

gin/t5x/composition*.gin bind these names. B = batch, X = shape of a point.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models.composition.diffusion import noise_of, output
from models.composition.diffusion_config import DiffusionConfig
from models.composition.sources import is_streamed
from models.training import OptimizerConfig, cross_entropy
from workflows import t5x_checks
from workflows.composition_training import DiffusionObjective, data_of
from workflows.t5x_adapter import DEFAULT_OPTIMIZER, Batch, ObjectiveModel, Params


class DiffusionModel(ObjectiveModel):
    """A diffusion model or classifier under T5X's model contract; metrics `loss`, and of a classifier `accuracy`.

    A batch's "targets" are rows, int32 [B, 2], of which points are made within the step, with an "image" and
    "condition" where these come along. T5X evaluates the parameters themselves, not their average.

    Args:
        model: what is trained.
        data: its points, by a name of `models.composition.sources`.
        untold: how often the condition is left out.
        optimizer: the optimizer and its schedule; only training needs it.
        steps: of the whole run, for schedules that are fitted to it.
        microbatches: parts of a batch, as `ObjectiveModel` has them.

    Raises:
        UserError: the data does not fit the model.
    """

    def __init__(
        self,
        model: DiffusionConfig,
        data: str,
        optimizer: OptimizerConfig = DEFAULT_OPTIMIZER,
        *,
        untold: float = 0.1,
        steps: int = 1,
        microbatches: int | None = None,
    ) -> None:
        resident = data_of(model, data)[1]
        objective = DiffusionObjective(model, data, untold)
        resident = jax.tree.map(jnp.asarray, resident)
        super().__init__(objective, optimizer, steps=steps, microbatches=microbatches, resident=resident)
        self.config, self._streamed = model, is_streamed(data)

    def ours(self, batch: Batch) -> Any:
        """The noised points of a batch's rows."""
        return self.objective.batch_of(dict(batch) if self._streamed else batch["targets"], self.resident)

    def predict_batch_with_aux(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Predicts the noise of each row's point, float32 [B, X], or its class, int32 [B]; beside it the "level"."""
        made, predicted_BX = self._read(params, batch)
        return predicted_BX, {"level": made.level_B}

    def score_batch(self, params: Params, batch: Batch, return_intermediates: bool = False) -> Any:
        """Minus each row's loss: its mean squared error, or the nats of its class; float32 [B]."""
        made, predicted_BX = self._read(params, batch, logits=True)
        if self.config.form == "classifier":
            scores_B = -cross_entropy(predicted_BX, made.condition)[0]
        else:
            scores_B = -jnp.mean(jnp.square(predicted_BX - made.noise_BX), axis=tuple(range(1, predicted_BX.ndim)))
        return (scores_B, {}) if return_intermediates else scores_B

    def _read(self, params: Params, batch: Batch, *, logits: bool = False) -> tuple[Any, jax.Array]:
        made, weights = self.ours(batch), self.weights_of(params)
        if self.config.form == "classifier":
            logits_BC = output(self.config, weights, made.x_BX, made.level_B)
            return made, logits_BC if logits else jnp.argmax(logits_BC, axis=-1).astype(jnp.int32)
        told = (None, None) if made.condition is None else (made.condition, made.present_B)
        return made, noise_of(self.config, weights, made.x_BX, made.level_B, *told)


def diffusion_task(
    model: DiffusionConfig,
    data: str,
    *,
    seed: int = 0,
    steps: int = 0,
    batch_size: int = 1,
    checkpoints: Sequence[str] = (),
) -> str:
    """Registers the task of a training's rows, with the splits "train" and "held_out", and names it.

    Args:
        model: what is trained.
        data: its points, by name.
        seed: of the rows.
        steps: of the whole run.
        batch_size: of all hosts.
        checkpoints: MODEL_DIR and the checkpoint that a run starts from: rows go on where the newest left off, as they
            do in the bundled trainer, and need no state of their own in the checkpoint.

    Raises:
        UserError: a macro on the command line that nothing uses, or no such data.
    """
    from seqio_tasks.composition import add_diffusion_task

    t5x_checks.refuse_unused_macros()
    done = next((step for step in map(t5x_checks.latest_step, filter(None, checkpoints)) if step is not None), 0)
    return add_diffusion_task(
        data,
        seed=seed,
        first_row=done * batch_size,
        rows=max(steps, done + 1) * batch_size,  # T5X asks for a batch even where nothing is left to do
        store=data_of(model, data)[0],
        conditioned=model.condition.kind != "none",
    ).name
