"""In-context learners under T5X: the bundled trainer's objective and rows, on T5X's own commands.

gin/t5x/in_context*.gin bind these names. B = contexts, N = examples of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from models.in_context.contexts import Contexts, check_bank
from models.in_context.learner_config import LearnerConfig
from models.in_context.tasks import UNSEEN, Mixture
from models.training import OptimizerConfig, cross_entropy
from seqio_tasks.base_sets import bank_for
from workflows import t5x_checks
from workflows.in_context_training import InContextObjective, unseen_evaluation
from workflows.t5x_adapter import DEFAULT_OPTIMIZER, Batch, ObjectiveModel, Params


class InContextLearner(ObjectiveModel):
    """A learner under T5X's model contract; metrics `loss` (nats per label), `accuracy`, `last_accuracy`.

    A batch's "targets" are rows, int32 [B, 3], of which contexts are made within the step. A row's task says which
    images: ids from UNSEEN on, which no training has, are of one more distribution beside the mixture's, whose data
    set is the held-out one. So the split "unseen" of `in_context_task` is what the bundled trainer validates on.

    Args:
        learner: the network's sizes.
        mixture: the tasks.
        optimizer: the optimizer and its schedule; only training needs it.
        steps: of the whole run, for schedules that are fitted to it.
        microbatches: parts of a batch, as `ObjectiveModel` has them.

    Raises:
        UserError: the data sets do not fit the learner.
    """

    def __init__(
        self,
        learner: LearnerConfig,
        mixture: Mixture,
        optimizer: OptimizerConfig = DEFAULT_OPTIMIZER,
        *,
        steps: int = 1,
        microbatches: int | None = None,
    ) -> None:
        unseen = unseen_evaluation(mixture)
        shares = [*mixture.shares, 1.0] if mixture.shares else ()  # what rows are drawn by is not asked here
        both = replace(mixture, distributions=[*mixture.distributions, unseen.distribution], shares=shares)
        sets = [(one.data, "train") for one in mixture.distributions]
        bank = bank_for([*sets, (unseen.distribution.data, unseen.split)], learner.features)
        check_bank(both, bank, examples=learner.examples, classes=learner.classes)
        objective = InContextObjective(learner, both)
        super().__init__(objective, optimizer, steps=steps, microbatches=microbatches, resident=tuple(bank))
        self.config, self._held_out = learner, len(mixture.distributions)

    def ours(self, batch: Batch) -> Contexts:
        """The contexts of a batch's rows."""
        rows_B3 = batch["targets"]
        which_B = jnp.where(rows_B3[:, 1] >= UNSEEN, self._held_out, rows_B3[:, 0])
        return self.objective.batch_of(rows_B3.at[:, 0].set(which_B), self.resident)

    def predict_batch_with_aux(
        self, params: Params, batch: Batch, rng: jax.Array | None = None
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Guesses each label from the examples before it.

        Returns:
            The labels, int32 [B, N]; beside them the "log_probabilities" of the true ones, in nats, float32 [B, N].
        """
        logits_BNC, log_probabilities_BN = self._read(params, batch)
        return jnp.argmax(logits_BNC, axis=-1).astype(jnp.int32), {"log_probabilities": log_probabilities_BN}

    def score_batch(self, params: Params, batch: Batch, return_intermediates: bool = False) -> Any:
        """The log probability of each context's labels, in nats; float32 [B]."""
        scores_B = jnp.sum(self._read(params, batch)[1], axis=1)
        return (scores_B, {}) if return_intermediates else scores_B

    def _read(self, params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Logits [B, N, C], and the log probabilities of the true labels [B, N]."""
        x_BNF, labels_BN = self.ours(batch)
        objective: Any = self.objective
        logits_BNC: Any = objective.network.apply({"params": self.weights_of(params)}, x_BNF, labels_BN)
        nats_BN, _ = cross_entropy(logits_BNC, labels_BN)
        return logits_BNC, -nats_BN


def in_context_task(
    mixture: Mixture, *, seed: int = 0, steps: int = 0, batch_size: int = 1, checkpoints: Sequence[str] = ()
) -> str:
    """Registers the task of a mixture's rows, with the splits "train" and "unseen", and names it.

    Args:
        mixture: what contexts are drawn from.
        seed: of the training's rows.
        steps: of the whole run.
        batch_size: of all hosts.
        checkpoints: MODEL_DIR and the checkpoint that a run starts from: rows go on where the newest left off, as they
            do in the bundled trainer, and need no state of their own in the checkpoint.

    Raises:
        UserError: a macro on the command line that nothing uses, or a number that cannot be.
    """
    from seqio_tasks.in_context import add_in_context_task

    t5x_checks.refuse_unused_macros()
    done = next((step for step in map(t5x_checks.latest_step, filter(None, checkpoints)) if step is not None), 0)
    rows = max(steps, done + 1) * batch_size  # T5X asks for a batch even where nothing is left to do
    return add_in_context_task(mixture, seed=seed, first_row=done * batch_size, rows=rows).name
