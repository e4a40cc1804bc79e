"""A training by a learned optimizer as an unrolled computation: what meta-training takes gradients through."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from models.evolution.unrolled import Unrolled
from models.learned_optimizers.interface import Key, LearnedOptimizer, Theta
from models.learned_optimizers.tasks.task import (
    Task,
    Training,
    begin,
    evaluate,
    loss_and_gradient,
    normalized,
)
from shammie.errors import UserError, unknown

MEASURED = ("training", "held_out")
OBJECTIVES = ("mean", "last")


@dataclass(frozen=True)
class InnerConfig:
    """What of a training counts as its loss.

    Attributes:
        measured: "training": the loss that the step's gradient is of, before the step; it costs nothing. "held_out":
            that of the parameters after the step on batches of their own.
        batches: how many batches a held-out loss is the mean of.
        objective: "mean" of all steps' losses, or the "last" one (VeLO's, arXiv:2211.09760): the step's loss is then
            times the training's length in the last step and 0 in all others, so that the mean over steps is it.
    """

    measured: Literal["training", "held_out"] = "training"
    batches: int = 1
    objective: Literal["mean", "last"] = "mean"

    def __post_init__(self) -> None:
        if self.measured not in MEASURED:
            raise unknown("measured loss", self.measured, MEASURED)
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        if self.batches < 1:
            raise UserError(f"InnerConfig.batches is {self.batches}", "give at least 1")


class InnerState(NamedTuple):
    """A training with its optimizer: the task's side, Optax's, and how many steps it will have, int32 []."""

    training: Training
    optimizer: Any
    num_steps: jax.typing.ArrayLike


def inner_training(
    optimizer: LearnedOptimizer, task: Task, horizon: int, config: InnerConfig = InnerConfig(), *, drawn: bool = False
) -> Unrolled:
    """The unrolled computation whose parameters are theta: each episode is one training in a world of its own.

    The optimizer is told the episode's horizon as its number of steps. Losses are normalised (`tasks.normalized`): 1
    where training begins, at most 1.5, which is also what a training that has diverged gets.

    Args:
        optimizer: the rule that theta belongs to.
        task: what is trained; a key draws its world.
        horizon: T, steps of a training; the longest where they are drawn.
        config: what counts as the loss.
        drawn: whether each episode has a horizon of its own.
    """

    def init(theta: Theta, key: Key, length: jax.typing.ArrayLike = horizon) -> InnerState:
        training = begin(task, key)
        state = optimizer.optax(theta, length if drawn else horizon).init(training.params)
        return InnerState(training, state, jnp.asarray(length, jnp.int32))

    def step(theta: Theta, state: InnerState, number: Any, key: Key) -> tuple[InnerState, jax.Array]:
        # a constant where it can be: then the compiler computes what follows from it
        length = state.num_steps if drawn else horizon
        train_key, measure_key = jax.random.split(key)
        seen, gradient, training = loss_and_gradient(task, state.training, train_key)
        rule = optimizer.optax(theta, length)
        updates, after = rule.update(gradient, state.optimizer, training.params, value=seen)
        training = training._replace(params=optax.apply_updates(training.params, updates))
        if config.measured == "held_out":
            seen = evaluate(task, training, measure_key, config.batches)
        loss = normalized(task, seen)
        if config.objective == "last":
            loss = jnp.where(number + 1 == length, loss * length, 0.0)
        return InnerState(training, after, state.num_steps), loss

    return Unrolled(init, step, horizon, tells_horizon=drawn)
