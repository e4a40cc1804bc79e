"""One meta-training from its first parameters to its scores: what a cell of the phase map is.

Steps are those of `models.training`; long runs, with checkpoints, are the trainer's. S = steps, B = contexts of a
step, N = examples, P = points at which it is scored.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.in_context.base_data import Bank
from models.in_context.contexts import check_bank, contexts_of
from models.in_context.judging import SCORED_AT_ONCE, Evaluation, check_judges, evaluation_from_json, judge, judged_rows
from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.objective import in_context_loss
from models.in_context.tasks import Mixture, TaskDistribution, met_ids, rows_of
from models.training import OptimizerConfig, TrainState, initial_state, optimizer_of, scan_steps, train_step
from models.training.optimizers import factor_names
from shammie.errors import UserError


@dataclass(frozen=True)
class MetaTraining:
    """A meta-training.

    Attributes:
        learner: the network's sizes.
        mixture: the tasks that it is trained on.
        optimizer: of meta-training.
        batch: B, contexts of a step: the meta-batch.
        steps: S.
        seed: of the first parameters and of the rows.
        points: P, at equal distances; they divide the steps.
        evaluations: what it is scored by at every point.
        contexts: how many of each.
    """

    learner: LearnerConfig = field(default_factory=LearnerConfig)
    mixture: Mixture = field(default_factory=Mixture)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch: int = 32
    steps: int = 1000
    seed: int = 0
    points: int = 10
    evaluations: Sequence[Evaluation] = (Evaluation("unseen"),)
    contexts: int = 256

    def __post_init__(self) -> None:
        object.__setattr__(self, "evaluations", tuple(self.evaluations))
        for name in ("batch", "steps", "points", "contexts"):
            if getattr(self, name) < 1:
                raise UserError(f"MetaTraining.{name} is {getattr(self, name)!r}", "give 1 or more")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"MetaTraining.seed is {self.seed!r}", "give a whole number from 0 to below 2**31")
        if self.steps % self.points:
            raise UserError(f"{self.steps} steps with {self.points} points", "give points that divide the steps")
        if self.contexts % min(self.contexts, SCORED_AT_ONCE):
            raise UserError(f"MetaTraining.contexts is {self.contexts}", f"give a multiple of {SCORED_AT_ONCE}")
        if self.optimizer.name in ("velo", "star"):  # which have none: see `program_of`
            raise UserError(f"meta-training sets a learning rate, {self.optimizer.name} has none", "name another one")
        factors = factor_names(self.optimizer)
        if "constant" not in factors or "linear_decay" in factors:  # see `program_of`: steps are times the rate
            raise UserError(
                f"the learning rate's factors are {self.optimizer.factors!r}",
                "give some with constant, without linear_decay",
            )
        names = [one.name for one in self.evaluations]
        if len({*names}) < len(names):
            raise UserError(f"evaluations are {', '.join(names)}", "name each once")


def from_json(values: Mapping[str, Any]) -> MetaTraining:
    """The meta-training whose plain JSON (`shammie.configs.plain`) this is."""

    def mixture(told: Mapping[str, Any]) -> Mixture:
        return Mixture([TaskDistribution(**one) for one in told["distributions"]], told["shares"])

    parts: dict[str, Any] = {
        "learner": LearnerConfig(**values["learner"]),
        "mixture": mixture(values["mixture"]),
        "optimizer": OptimizerConfig(**values["optimizer"]),
        "evaluations": [evaluation_from_json(one) for one in values["evaluations"]],
    }
    return MetaTraining(**{**values, **parts})


class Scores(NamedTuple):
    """What a meta-training ended with.

    Attributes:
        losses_P: mean training loss since the point before, in nats; float32.
        accuracy_EPN: of each evaluation, at each point and position; float32.
        nats_EPN: the same of mean nats.
        params: at the end.
    """

    losses_P: np.ndarray
    accuracy_EPN: np.ndarray
    nats_EPN: np.ndarray
    params: Any


class Program(NamedTuple):
    """What is compiled of a meta-training, once for all that `shape_of` says are alike.

    Attributes:
        start: a seed to a training state.
        train: (state, rows [S, B, 3], learning rate []) to the next state and the mean loss.
        score: (parameters, rows) to accuracy and mean nats, as `judging.judge` has it.
    """

    start: Callable[[Any], TrainState]
    train: Callable[[TrainState, jax.Array, Any], tuple[TrainState, jax.Array]]
    score: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]


def shape_of(training: MetaTraining) -> MetaTraining:
    """What a program is compiled for: all but the seed, the learning rate and how many tasks there are."""
    alike = {"tasks": 0, "curriculum_from": 0, "curriculum_draws": 1}
    return replace(
        training,
        seed=0,
        optimizer=replace(training.optimizer, learning_rate=1.0),
        mixture=replace(training.mixture, distributions=[replace(d, **alike) for d in training.mixture.distributions]),
        evaluations=[
            replace(one, distribution=replace(one.distribution, **alike), seen=False, met=False)
            for one in training.evaluations
        ],
    )


def program_of(training: MetaTraining, bank: Bank, judging: Bank) -> Program:
    """The program of a meta-training.

    Args:
        training: the run, or one of the same shape.
        bank: the data sets of its mixture.
        judging: of its evaluations, in their order.
    """
    learner, shape = training.learner, shape_of(training)
    sizes: Any = {"examples": learner.examples, "classes": learner.classes}
    network = network_of(learner)
    check_bank(training.mixture, bank, **sizes)
    check_judges(training.evaluations, judging, **sizes)
    loss = in_context_loss(network)
    optimizer = optimizer_of(shape.optimizer, training.steps)

    def start(seed: Any) -> TrainState:
        return initial_state(first_params(network, jax.random.key(seed)), optimizer)

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: TrainState, bank: Bank, rows_SB3: jax.Array, rate: jax.Array) -> tuple[TrainState, jax.Array]:
        # steps are proportional to the learning rate, with weight decay: it needs no program of its own
        step = train_step(loss, _times(optimizer, rate))
        one = lambda state, rows: step(state, contexts_of(training.mixture, bank, rows, **sizes))  # noqa: E731
        state, metrics = scan_steps(one)(state, rows_SB3)
        return state, metrics["loss"].reduce().compute()

    score = jax.jit(judge(network, training.evaluations))
    # data sets are arguments, not constants: they may be large
    return Program(
        jax.jit(start),
        lambda state, rows, rate: train(state, bank, rows, rate),
        lambda params, rows: score(params, judging, rows),
    )


def _times(optimizer: optax.GradientTransformation, rate: jax.Array) -> optax.GradientTransformation:
    """The optimizer with its steps times a number; its state is the same."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = optimizer.update(updates, state, params)
        return jax.tree.map(lambda x: rate * x, updates), state

    return optax.GradientTransformation(optimizer.init, update)


def meta_train(training: MetaTraining, program: Program) -> Scores:
    """Meta-trains a learner, scoring it at each point, on seen tasks that it has met by then."""
    state = program.start(training.seed)
    rate = jnp.float32(training.optimizer.learning_rate)
    size = training.steps // training.points
    losses, accuracy, nats = [], [], []
    met_M: Any = ()
    for point in range(training.points):
        rows = rows_of(training.mixture, training.seed, point * size * training.batch, size * training.batch)
        if any(one.met for one in training.evaluations):
            met_M = met_ids(rows, met_M)
        judged = jnp.asarray(judged_rows(training.evaluations, training.contexts, met_M))
        state, loss = program.train(state, jnp.asarray(rows.reshape(size, training.batch, 3)), rate)
        right, cost = program.score(state.params, judged)
        losses.append(loss)
        accuracy.append(right)
        nats.append(cost)
    host: Any = jax.device_get((losses, accuracy, nats))
    by_evaluation = lambda values: np.asarray(values, np.float32).swapaxes(0, 1)  # noqa: E731
    return Scores(np.asarray(host[0]), by_evaluation(host[1]), by_evaluation(host[2]), state.params)
