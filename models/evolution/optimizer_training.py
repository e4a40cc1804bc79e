"""Meta-training of the MLP optimizer as a problem of evolution, after arXiv:2304.12180, section 5.2.

The inner problem is a perceptron on small images; an episode is one training of it. In the paper all episodes see one
sequence of batches, and the loss of a step is a validation loss.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax

from models.evolution.unrolled import Key, Loss, State, StepNumber, Unrolled
from models.learned_optimizers.inner_training import InnerConfig, inner_training
from models.learned_optimizers.mlp import MLPConfig, mlp
from models.learned_optimizers.tasks.image_tasks import ImageTaskConfig, image_mlp
from models.learned_optimizers.tasks.images import ImageConfig


@dataclass(frozen=True)
class OptimizerTrainingConfig:
    """The problem; the defaults are small.

    Attributes:
        horizon: T, steps of a training.
        widths: hidden layers of the perceptron that is trained; the paper's are (32, 32).
        activation: between them; the paper's is "gelu".
        side: pixels of an image's side; the paper's is 8, of Fashion-MNIST: ours are generated.
        classes: of images.
        batch: images of a step; the paper's is 128.
        hidden_size: of the optimizer's own network.
        measured: which loss a step has, "held_out" as in the paper or "training".
        sequence: the seed of the one world, start and sequence of batches that all episodes have, as in the paper;
            -1: each episode has its own.
    """

    horizon: int = 100
    widths: tuple[int, ...] = (16,)
    activation: Literal["relu", "tanh", "gelu", "silu"] = "relu"
    side: int = 8
    classes: int = 10
    batch: int = 32
    hidden_size: int = 8
    measured: Literal["training", "held_out"] = "held_out"
    sequence: int = -1


def first_optimizer(config: OptimizerTrainingConfig, key: Key) -> Any:
    """The meta-parameters that learning starts from: random weights."""
    return mlp(MLPConfig(hidden_size=config.hidden_size)).init_theta(key)


def optimizer_training(config: OptimizerTrainingConfig = OptimizerTrainingConfig()) -> Unrolled:
    """The unrolled problem: losses are normalised, 1 where a training begins."""
    data = ImageConfig(side=config.side, classes=config.classes, batch_size=config.batch)
    task = image_mlp(ImageTaskConfig(data, tuple(config.widths), config.activation))
    optimizer = mlp(MLPConfig(hidden_size=config.hidden_size))
    free = inner_training(optimizer, task, config.horizon, InnerConfig(config.measured))
    if config.sequence < 0:
        return free

    def init(theta: Any, key: Key) -> State:
        del key
        return free.init(theta, jax.random.key(config.sequence))

    def step(theta: Any, state: State, number: StepNumber, key: Key) -> tuple[State, Loss]:
        del key
        same = jax.random.fold_in(jax.random.key(config.sequence), number + 1)
        return free.step(theta, state, number, same)

    return Unrolled(init, step, config.horizon)
