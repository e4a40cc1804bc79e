"""The cells of `in_context` on the sweep engine: meta-trainings, and baselines on the contexts that judge them.

A config is the plain JSON of `MetaTraining`, or of `Judged`, and "data": the sha256 of each data set that it reads.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from beam_jobs.sweep.ways import Ways
from models.in_context.baselines import BASELINES
from models.in_context.contexts import check_bank, contexts_of
from models.in_context.judging import SCORED_AT_ONCE, Evaluation, evaluation_from_json
from models.in_context.learner import parameter_count, state_size
from models.in_context.meta_training import MetaTraining, from_json, meta_train, program_of, shape_of
from models.in_context.tasks import Mixture
from seqio_tasks.base_sets import bank_for, digest_of
from seqio_tasks.image_data import TFDS
from shammie.configs import plain
from shammie.errors import UserError, unknown
from shammie.xla import keep_in_order

META_TRAINING_ADDRESS = "beam_jobs.in_context.cells:META_TRAINING"
BASELINE_ADDRESS = "beam_jobs.in_context.cells:BASELINE"
FLOPS_PER_S = 3e10  # a core's, in such small products
STEP_SECONDS = 2e-3  # what a step takes beside its products
COMPILE_SECONDS = 15.0
MOST_IN_GROUP = 4  # programs are compiled once a group; a group's cells run one after the other
ONE_AT_A_TIME = 1  # two such programs at a time in one process can hang for good on two cores (jaxlib 0.10.2)
RECURRENT = ("lstm", "outer_product", "vsml", "linear_recurrence", "maml")  # whose steps are many small operations
RECURRENT_SECONDS = 2e-4  # of one position


def digests(pairs: Sequence[tuple[str, str]], features: int) -> dict[str, str]:
    """The sha256 of each data set and split; those of TFDS, which are known by their names, are not loaded for it."""
    kept = sorted({(name, split) for name, split in pairs if not name.startswith(TFDS)})
    return {f"{name} {split}": _digest(name, split, features) for name, split in kept}


def meta_training_config(training: MetaTraining) -> dict[str, Any]:
    """A meta-training as a cell's config."""
    read = [(one.data, "train") for one in training.mixture.distributions]
    read += [(one.distribution.data, one.split) for one in training.evaluations]
    return {**plain(training), "data": digests(read, training.learner.features)}


class MetaTrainings:
    """The kind of a meta-training.

    A row has `losses` [P], and `accuracy` and `nats` of each evaluation, point and position, flat [E * P * N];
    `state_size` in floats and `parameters`.
    """

    name = "meta_training"
    version = 1
    threads = ONE_AT_A_TIME
    schema = pa.schema(
        [
            ("losses", pa.list_(pa.float32())),
            ("accuracy", pa.list_(pa.float32())),
            ("nats", pa.list_(pa.float32())),
            ("state_size", pa.int64()),
            ("parameters", pa.int64()),
        ]
    )

    def prepare(self) -> None:
        """Recurrent learners are loops in the loop of steps (`keep_in_order`)."""
        keep_in_order()

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled program."""
        return {**plain(shape_of(_training(config))), "data": config["data"]}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """Some, so that several processes, and a job that was stopped, have enough parts."""
        return MOST_IN_GROUP

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        learner, positions = config["learner"], config["batch"] * config["learner"]["examples"]
        parameters = parameter_count(_training(config).learner)
        features = learner["features"]
        flops = 6.0 * parameters * positions + config["batch"] * features**2 * (20 + 2 * learner["examples"])
        step = STEP_SECONDS + flops / FLOPS_PER_S
        if learner["kind"] in RECURRENT:
            step += RECURRENT_SECONDS * learner["examples"]
        return config["steps"] * step + COMPILE_SECONDS / MOST_IN_GROUP

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """The curves."""
        return 4 * config["points"] * (1 + 2 * len(config["evaluations"]) * config["learner"]["examples"]) + 16

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Meta-trains one after the other with one program."""
        del ways
        _check_data(configs)
        trainings = [_training(config) for config in configs]
        first = trainings[0]
        features = first.learner.features
        bank = bank_for([(one.data, "train") for one in first.mixture.distributions], features)
        judging = bank_for([(one.distribution.data, one.split) for one in first.evaluations], features)
        program = program_of(first, bank, judging)
        sizes = {"state_size": state_size(first.learner), "parameters": parameter_count(first.learner)}
        rows = []
        for training in trainings:
            scores = meta_train(training, program)
            curves = {"accuracy": scores.accuracy_EPN.ravel(), "nats": scores.nats_EPN.ravel()}
            rows.append({"losses": scores.losses_P, **curves, **sizes})
        return rows


@dataclass(frozen=True)
class Judged:
    """A baseline on an evaluation's contexts.

    Attributes:
        baseline: one of `models.in_context.baselines.BASELINES`.
        evaluation: the contexts.
        features: F.
        classes: C.
        examples: N.
        contexts: how many.
    """

    baseline: str = "nearest_neighbour"
    evaluation: Evaluation = field(default_factory=lambda: Evaluation("unseen"))
    features: int = 64
    classes: int = 10
    examples: int = 100
    contexts: int = 256

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise unknown("baseline", self.baseline, BASELINES)


def baseline_config(judged: Judged) -> dict[str, Any]:
    """A baseline as a cell's config."""
    read = [(judged.evaluation.distribution.data, judged.evaluation.split)]
    return {**plain(judged), "data": digests(read, judged.features)}


class Baselines:
    """The kind of a baseline on an evaluation. A row has `accuracy` at each position, [N]."""

    name = "in_context_baseline"
    version = 1
    threads = ONE_AT_A_TIME
    schema = pa.schema([("accuracy", pa.list_(pa.float32()))])

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled program."""
        return dict(config)

    def group_size(self, config: Mapping[str, Any]) -> int:
        """One: programs differ."""
        return 1

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        return 1.0 + config["contexts"] * config["examples"] * 1e-3

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """The curve."""
        return 4 * config["examples"]

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Judges each."""
        del ways
        _check_data(configs)
        return [{"accuracy": self._accuracy(config)} for config in configs]

    def _accuracy(self, config: Mapping[str, Any]) -> np.ndarray:
        told = {name: value for name, value in config.items() if name != "data"}
        judged = Judged(**{**told, "evaluation": evaluation_from_json(config["evaluation"])})
        mixture = Mixture((judged.evaluation.distribution,))
        bank = bank_for([(judged.evaluation.distribution.data, judged.evaluation.split)], judged.features)
        sizes: Any = {"examples": judged.examples, "classes": judged.classes}
        check_bank(mixture, bank, **sizes)
        # the data set is an argument, not a constant: it may be large
        make = jax.jit(lambda bank, rows: contexts_of(mixture, bank, rows, **sizes))
        right = []
        for rows in np.array_split(judged.evaluation.rows(judged.contexts), -(-judged.contexts // SCORED_AT_ONCE)):
            x_BNF, labels_BN = make(bank, jnp.asarray(rows))
            logits_BNC = BASELINES[judged.baseline](x_BNF, labels_BN, judged.classes, range(judged.examples))
            guess_BN = np.argmax(np.asarray(logits_BNC), axis=-1)
            right.append(guess_BN == np.asarray(labels_BN))
        accuracy_N = np.concatenate(right).mean(axis=0)
        accuracy_N[0] = 1.0 / judged.classes  # all labels are alike to it: the first of equals would be luck
        return accuracy_N.astype(np.float32)


_digest = functools.cache(digest_of)  # of gigabytes, for each of a grid's configs


def _training(config: Mapping[str, Any]) -> MetaTraining:
    return from_json({name: value for name, value in config.items() if name != "data"})


def _check_data(configs: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError where a data set is not the one that a config was made for."""
    for config in configs:
        features = config["features"] if "features" in config else config["learner"]["features"]
        for place, digest in config["data"].items():
            name, _, split = place.rpartition(" ")
            if _digest(name, split, features) != digest:
                raise UserError(f"data set {place} is not the one that this cell is for", "run again from its settings")


META_TRAINING = MetaTrainings()
BASELINE = Baselines()
