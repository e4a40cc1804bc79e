"""SGD from scratch: a small network that learns a context online, the baseline "SGD" of arXiv:2212.04458.

B = sequences, N = examples, F = features, H = hidden units, C = classes.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from models.training.optimizers import OptimizerConfig, optimizer_of
from shammie.errors import UserError

PLAIN_SGD = OptimizerConfig(name="sgd", learning_rate=0.03, factors="constant", weight_decay=0.0, clip_norm=0.0)


class Weights(NamedTuple):
    """A network of one hidden layer of ReLUs, or a linear one, whose `hidden_FH` and `hidden_bias_H` are None."""

    hidden_FH: jax.Array | None
    hidden_bias_H: jax.Array | None
    out_HC: jax.Array
    out_bias_C: jax.Array


def logits_of(weights: Weights, x_F: jax.Array) -> jax.Array:
    """The network's float32 logits [C] of one example, computed in the example's type."""
    if weights.hidden_FH is not None and weights.hidden_bias_H is not None:
        x_F = jax.nn.relu(x_F @ weights.hidden_FH.astype(x_F.dtype) + weights.hidden_bias_H.astype(x_F.dtype))
    return (x_F @ weights.out_HC.astype(x_F.dtype)).astype(jnp.float32) + weights.out_bias_C


def loss_of(weights: Weights, x_F: jax.Array, label_C: jax.Array) -> jax.Array:
    """The cross-entropy of one example, float32 []; a label of zeros, of no class, costs nothing."""
    return -jnp.sum(label_C * jax.nn.log_softmax(logits_of(weights, x_F)))


def hidden_initializer(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """He's normal weights of a hidden layer, float32 [F, H]: the variance of each is 2 / F (arXiv:1502.01852)."""
    return jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5


def first_weights(key: jax.Array, features: int, hidden: int, classes: int) -> Weights:
    """The weights before the first example. The last layer is 0: no class is favoured.

    Args:
        key: of the hidden layer.
        features: F.
        hidden: H; 0: a linear network.
        classes: C.
    """
    out_HC, out_bias_C = jnp.zeros((hidden or features, classes)), jnp.zeros(classes)
    if not hidden:
        return Weights(None, None, out_HC, out_bias_C)
    return Weights(hidden_initializer(key, (features, hidden)), jnp.zeros(hidden), out_HC, out_bias_C)


@dataclass(frozen=True)
class GradientConfig:
    """A network and how it learns.

    Attributes:
        hidden: H, hidden units; 0: a linear network, which is logistic regression, online.
        steps: gradient steps on each example, one after the other, before the next is seen.
        seed: of the first weights, which are the same for every sequence.
        optimizer: what makes a step of a gradient; its state lasts for the whole context.
    """

    hidden: int = 0
    steps: int = 1
    seed: int = 0
    optimizer: OptimizerConfig = PLAIN_SGD

    def __post_init__(self) -> None:
        for name, least in (("hidden", 0), ("steps", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"GradientConfig.{name} is {value!r}", f"give a whole number of {least} or more")


@functools.partial(jax.jit, static_argnames=("classes", "config"))
def online_logits(x_BNF: jax.Array, labels_BN: jax.Array, classes: int, config: GradientConfig) -> jax.Array:
    """One pass over each context in order: predict an example, then learn from it.

    Args:
        x_BNF: examples, float32.
        labels_BN: their labels, int32 below C; another belongs to no class and teaches nothing.
        classes: C.
        config: network, steps and optimizer.

    Returns:
        float32 [B, N, C]: logits of example n by the weights that examples 0 ... n-1 made; 0 at n = 0.
    """
    examples, features = x_BNF.shape[1:]
    optimizer = optimizer_of(config.optimizer, examples * config.steps)
    told: Any = optax.with_extra_args_support(optimizer)  # learned optimizers ask for the loss
    weights: Any = first_weights(jax.random.key(config.seed), features, config.hidden, classes)

    def sequence(x_NF: jax.Array, labels_NC: jax.Array) -> jax.Array:
        def example(
            carried: tuple[Weights, optax.OptState], row: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[Weights, optax.OptState], jax.Array]:
            x_F, label_C = row
            logits_C = logits_of(carried[0], x_F)
            for _ in range(config.steps):
                weights, state = carried
                loss, gradient = jax.value_and_grad(loss_of)(weights, x_F, label_C)
                updates, state = told.update(gradient, state, weights, value=loss)
                carried = jax.tree.map(jnp.add, weights, updates), state
            return carried, logits_C

        return jax.lax.scan(example, (weights, optimizer.init(weights)), (x_NF, labels_NC))[1]

    return jax.vmap(sequence)(x_BNF, jax.nn.one_hot(labels_BN, classes))
