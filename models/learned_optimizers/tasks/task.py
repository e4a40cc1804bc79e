"""What a task is that optimizers train: an objective with its own random numbers, data and start, as pure functions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.learned_optimizers.tasks.gradients import EXACT, GradientRule
from shammie.errors import UserError

Key = Any  # a JAX random key
World = Any  # any pytree
Params = Any
Batch = Any  # leaves [B, ...]
Loss = Any  # float32 []

CAP = 1.5  # normalised losses end here, as does whatever is not finite


@dataclass(frozen=True)
class Task:
    """A task, or a family of tasks of one shape: each `world` is one of them. All functions are pure and vmappable.

    Attributes:
        name: of people's tables, such as "image_mlp".
        draw: key -> the world: what is random about the task itself, such as the patterns of its classes.
        init: (world, key) -> parameters to train.
        batch: (world, key) -> examples, leaves [B, ...]; always fresh, so that there is nothing to overfit: batches
            of keys that training did not use are held-out ones.
        loss: (world, params, batch) -> the mean loss, float32 [].
        first_loss: about the loss that training begins with, in closed form; for scale.
        batch_size: B.
        gradients: how gradients are estimated from the loss.
    """

    name: str
    draw: Callable[[Key], World]
    init: Callable[[World, Key], Params]
    batch: Callable[[World, Key], Batch]
    loss: Callable[[World, Params, Batch], Loss]
    first_loss: float
    batch_size: int
    gradients: GradientRule = EXACT

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"the batch size of task {self.name!r} is {self.batch_size}", "give at least 1")
        if not 0 < self.first_loss < math.inf:
            raise UserError(f"the first loss of task {self.name!r} is {self.first_loss}", "give a number above 0")


class Training(NamedTuple):
    """Where a training on a task is, without the optimizer's state.

    Attributes:
        world: the task's random numbers, which stay.
        numbers: those of the gradient rule, which stay.
        params: what is trained; put new ones in with `_replace`.
        memory: the gradient rule's.
    """

    world: World
    numbers: Any
    params: Params
    memory: Any


def begin(task: Task, key: Key) -> Training:
    """A new training: a world and its first parameters; the same key gives the same."""
    world_key, init_key, numbers_key = jax.random.split(key, 3)
    world = task.draw(world_key)
    params = task.init(world, init_key)
    return Training(world, task.gradients.draw(numbers_key), params, task.gradients.init(params))


def loss_and_gradient(task: Task, training: Training, key: Key) -> tuple[Loss, Params, Training]:
    """What a step of training sees on a fresh batch.

    Returns:
        The loss, float32 []; gradients in the parameters' structure, shapes and dtypes; and the training with the
        gradient rule's new memory and the parameters as they were.
    """
    batch_key, rule_key = jax.random.split(key)
    batch = task.batch(training.world, batch_key)
    loss, gradient, memory = task.gradients.estimate(
        lambda params: task.loss(training.world, params, batch),
        training.params,
        training.numbers,
        training.memory,
        rule_key,
    )
    return loss, gradient, training._replace(memory=memory)


def evaluate(task: Task, training: Training, key: Key, batches: int = 1) -> Loss:
    """The mean loss of the present parameters on fresh batches, float32 []."""

    def one(key: Key) -> Loss:
        return task.loss(training.world, training.params, task.batch(training.world, key))

    return jnp.mean(jax.vmap(one)(jax.random.split(key, batches)))


def normalized(task: Task, loss: jax.typing.ArrayLike) -> jax.Array:
    """Losses on a scale that tasks share: 1 where training begins, at most CAP; what is not finite is CAP.

    Args:
        task: whose losses they are.
        loss: float of any shape.
    """
    share = jnp.asarray(loss, jnp.float32) / task.first_loss
    return jnp.where(jnp.isfinite(share), jnp.clip(share, 0.0, CAP), CAP)
