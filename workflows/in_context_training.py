"""Meta-training as a job of the trainer: rows are (distribution, task, draw), and contexts are made within the step.

So nothing but three numbers a context passes from host to device, and the data sets lie there once.
"""

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from beam_jobs.in_context.cells import digests
from models.in_context.base_data import Bank
from models.in_context.contexts import Contexts, check_bank, contexts_of
from models.in_context.judging import Evaluation, check_judges, judge, judged_rows
from models.in_context.learner import init, network_of, parameter_count
from models.in_context.learner_config import LearnerConfig
from models.in_context.objective import in_context_loss, last_positions
from models.in_context.tasks import Mixture, rows_of
from models.training import Batch, Metrics, Params
from seqio_tasks.base_sets import bank_for
from workflows.train import Job, Objective, RunConfig, rows_by_formula

EVAL_CONTEXTS = 256


@dataclass(frozen=True, kw_only=True)
class MetaTrainConfig(RunConfig):
    """A run of the trainer on an in-context learner.

    Attributes:
        learner: its sizes.
        mixture: the tasks.
    """

    learner: LearnerConfig = field(default_factory=LearnerConfig)
    mixture: Mixture = field(default_factory=Mixture)

    def shared_sizes(self) -> dict[str, int]:
        """Sizes that devices share out."""
        return {f"learner.{name}": getattr(self.learner, name) for name in ("heads", "mlp_width", "classes")}


@dataclass(frozen=True)
class InContextObjective(Objective):
    """A learner on contexts of a mixture.

    Attributes:
        learner: its sizes.
        mixture: the tasks.
    """

    learner: LearnerConfig
    mixture: Mixture

    @functools.cached_property
    def network(self) -> Any:
        """The learner's network."""
        return network_of(self.learner)

    @property
    def row(self) -> Any:
        """int32 [3], of `models.in_context.tasks.rows_of`."""
        return jax.ShapeDtypeStruct((3,), jnp.int32)

    def init(self, key: jax.Array) -> Any:
        """The first variables."""
        return init(self.network, key)

    def batch_of(self, rows: Any, resident: Any) -> Contexts:
        """The contexts of some rows; the data sets are resident."""
        sizes: Any = {"examples": self.learner.examples, "classes": self.learner.classes}
        return contexts_of(self.mixture, Bank(*resident), rows, **sizes)

    def loss(self, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        """See `models.in_context.objective.in_context_loss`."""
        return in_context_loss(self.network)(params, batch)


def unseen_evaluation(mixture: Mixture) -> Evaluation:
    """What a meta-training is validated on: unseen tasks of its first distribution, held-out images, nothing noisy."""
    first = mixture.distributions[0]
    clean = replace(first, tasks=0, biased_share=0.0, noise=0.0, label_noise=0.0, curriculum_from=0)
    return Evaluation("unseen", clean)


def in_context_job(config: MetaTrainConfig) -> Job:
    """A meta-training, with its data found and checked; it is validated on unseen tasks with held-out images.

    Raises:
        UserError: the data sets do not fit the learner.
    """
    learner, mixture = config.learner, config.mixture
    bank = bank_for([(one.data, "train") for one in mixture.distributions], learner.features)
    check_bank(mixture, bank, examples=learner.examples, classes=learner.classes)
    unseen = [unseen_evaluation(mixture)]
    held_out = bank_for([(unseen[0].distribution.data, unseen[0].split)], learner.features)
    check_judges(unseen, held_out, examples=learner.examples, classes=learner.classes)
    scores = jax.jit(judge(network_of(learner), unseen))
    rows = jnp.asarray(judged_rows(unseen, EVAL_CONTEXTS))

    def evaluate(params: Any) -> dict[str, float]:
        accuracy_EN, nats_EN = jax.device_get(scores(params, held_out, rows))
        last = last_positions(learner.examples)
        return {"unseen_loss": float(nats_EN.mean()), "unseen_last_accuracy": float(accuracy_EN[0, -last:].mean())}

    read = digests([(one.data, "train") for one in mixture.distributions], learner.features)
    return Job(
        config=config,
        objective=InContextObjective(learner, mixture),
        load=rows_by_formula(functools.partial(rows_of, mixture, config.seed), config.batch_size),
        unit="tasks",
        units_per_step=config.batch_size,
        flops_per_unit=6.0 * parameter_count(learner) * learner.examples,
        hashes={f"{name} sha256": digest for name, digest in read.items()},
        resident=tuple(jax.device_get(bank)),
        evaluate=evaluate,
    )
