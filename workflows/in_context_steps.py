"""The steps of `in_context` about one learner: meta-training it with the bundled trainer, and judging it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from beam_jobs.in_context.cells import digests
from models.in_context.judging import check_judges, judge, judged_rows
from models.in_context.learner import network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.tasks import met_ids, rows_of
from models.in_context.trained import TrainedLearner
from seqio_tasks.base_sets import bank_for
from shammie import files
from shammie.configs import plain
from workflows.dag import Running, Step
from workflows.in_context_settings import Settings
from workflows.in_context_training import MetaTrainConfig, in_context_job
from workflows.train import train_job

LEARNER, CURVE, SCORES = "learner.bin", "curve.json", "scores.json"
CHECKPOINTS = "checkpoints"
CELLS = (
    "models.in_context",
    "models.training",
    "models.lm",
    "seqio_tasks.base_sets",
    "seqio_tasks.image_data",
    "seqio_tasks.image_files",
    "seqio_tasks.mat_files",
    "seqio_tasks.synthetic_tables",
)
CODE = (*CELLS, "workflows.in_context_training", "workflows.train")
LOGS, EVALUATIONS = 100, 25  # of a run, about
STEPS_PER_CALL = 10


def run_of(settings: Settings) -> MetaTrainConfig:
    """The run of the trainer."""
    every = lambda times: max(STEPS_PER_CALL, settings.steps // times // STEPS_PER_CALL * STEPS_PER_CALL)  # noqa: E731
    return MetaTrainConfig(
        learner=settings.learner or LearnerConfig(),
        mixture=settings.recipe.mixture(settings.data, settings.tasks),
        optimizer=settings.recipe.optimizer(),
        batch_size=settings.recipe.batch,
        steps=settings.steps,
        seed=settings.seed,
        steps_per_call=STEPS_PER_CALL,
        log_every=every(LOGS),
        eval_every=every(EVALUATIONS),
        checkpoint_every=every(5),
    )


def meta_train_step(settings: Settings) -> Step:
    """The step that meta-trains the settings' learner; killed, it goes on from its checkpoint.

    It writes learner.bin (`TrainedLearner`) and curve.json, the trainer's log rows.
    """
    config = run_of(settings)
    learner = config.learner
    read = digests([(one.data, "train") for one in config.mixture.distributions], learner.features)

    def run(running: Running) -> dict[str, Any]:
        result = train_job(in_context_job(config), running.path(CHECKPOINTS), what="meta-training")
        params = jax.tree.map(np.asarray, jax.device_get(result.state.params))
        last = result.rows[-1]
        made_with = {**running.config, "unseen_last_accuracy": last["unseen_last_accuracy"]}
        files.write_bytes(running.path(LEARNER), TrainedLearner(learner, params, made_with).to_bytes())
        files.write_json(running.path(CURVE), list(result.rows))
        return {name: last[name] for name in ("loss", "unseen_last_accuracy", "tasks_per_s")}

    return Step("meta_train", run, config={"run": plain(config), "data": read}, code=CODE)


def judge_step(settings: Settings, meta_train: Step) -> Step:
    """The step that judges the learner on every evaluation of the settings: scores.json.

    That has for each evaluation's name "accuracy" and "nats" at each position. Learner and curve lie beside it.
    """
    learner = settings.learner or LearnerConfig()
    evaluations = settings.evaluations(settings.tasks, everything=True, scale=settings.recipe.scale)
    read = digests([(one.distribution.data, one.split) for one in evaluations], learner.features)

    def run(running: Running) -> None:
        path = files.join(running.input("learner"), LEARNER)
        for name in (LEARNER, CURVE):
            files.copy(files.join(running.input("learner"), name), running.path(name))
        trained = TrainedLearner.from_bytes(files.read_bytes(path), path)
        network, params = network_of(trained.config), jax.tree.map(jnp.asarray, trained.params)
        bank = bank_for([(one.distribution.data, one.split) for one in evaluations], learner.features)
        check_judges(evaluations, bank, examples=learner.examples, classes=learner.classes)
        made_by = run_of(settings)
        met_M = met_ids(rows_of(made_by.mixture, made_by.seed, 0, made_by.steps * made_by.batch_size))
        rows = jnp.asarray(judged_rows(evaluations, settings.contexts, met_M))
        accuracy_EN, nats_EN = jax.device_get(jax.jit(judge(network, evaluations))(params, bank, rows))
        found = {
            one.name: {"accuracy": accuracy_N.tolist(), "nats": nats_N.tolist()}
            for one, accuracy_N, nats_N in zip(evaluations, accuracy_EN, nats_EN, strict=True)
        }
        files.write_json(running.path(SCORES), found)

    told = {"evaluations": plain(evaluations), "contexts": settings.contexts, "data": read}
    return Step("judge", run, config=told, inputs={"learner": meta_train}, code=CODE)
