"""MAML as an in-context learner: first weights, and a learning rate, from which online SGD learns a context.

The baseline "MAML" of arXiv:2212.04458 after arXiv:1703.03400: a network with one hidden layer predicts an example,
then takes one gradient step on it, then meets the next; the outer loss is the mean over all positions, and its gradient
passes through the steps (second order). Here it has the interface of the other learners, so that they share a trainer
and an evaluation.

B = sequences, N = examples, F = features, H = hidden units, C = classes.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.in_context.gradient_baseline import Weights, hidden_initializer, logits_of, loss_of
from models.in_context.learner_config import LearnerConfig
from models.lm.layers import as_type

FIRST_RATE = 0.03  # of the inner steps, before meta-training; the best of 0.003 ... 0.1 for SGD from scratch on digits


class MAMLState(NamedTuple):
    """What a sequence remembers: how far its weights have moved ([B, ...] each), and the last example, [B, F].

    The last example waits for its label, which comes with the next.
    """

    moved: Weights
    x_BF: jax.Array


class MAMLLearner(nn.Module):
    """Labelled examples to logits, by online SGD from learned weights.

    Attributes:
        config: its `features`, `classes`, `mlp_width` (H) and `dtype` count.
        rate_per_parameter: whether each weight has a learning rate of its own (Meta-SGD, arXiv:1707.09835), not one for
            all. Rates are the softplus of the parameters "rate...", so that they stay above 0.
    """

    config: LearnerConfig
    rate_per_parameter: bool = False

    def setup(self) -> None:
        """Makes the parameters. The last layer is 0: no class is favoured until meta-training finds one to favour."""
        normal, zeros = hidden_initializer, nn.initializers.zeros
        self.weights = self._parameters("", (normal, zeros, zeros, zeros))
        rate = nn.initializers.constant(math.log(math.expm1(FIRST_RATE)))
        if self.rate_per_parameter:
            self.raw_rates = self._parameters("rate_", (rate, rate, rate, rate))
        else:
            raw = partitioning.param_with_axes("rate", rate, (), axes=())
            self.raw_rates = Weights(raw, raw, raw, raw)

    def _parameters(self, prefix: str, first: Sequence[Callable[..., jax.Array]]) -> Weights:
        c = self.config
        sizes = {"features": c.features, "mlp": c.mlp_width, "classes": c.classes}
        axes = ("features", "mlp"), ("mlp",), ("mlp", "classes"), ("classes",)
        made = [
            partitioning.param_with_axes(prefix + name, init, tuple(sizes[axis] for axis in names), axes=names)
            for name, init, names in zip(Weights._fields, first, axes, strict=True)
        ]
        return Weights(*made)

    def __call__(self, x_BNF: jax.Array, labels_BN: jax.Array) -> jax.Array:
        """Predicts each label from the examples before; float [B, N, F] and int [B, N] to float32 [B, N, C].

        The gradient keeps the moved weights of every position, B N (F H + H + H C + C) floats, and computes the rest
        again.
        """
        c = self.config
        weights, rates = self.weights, jax.tree.map(jax.nn.softplus, self.raw_rates)

        def example(moved: Weights, row: tuple[jax.Array, jax.Array]) -> tuple[Weights, jax.Array]:
            x_F, label_C = row
            now = jax.tree.map(jnp.add, weights, moved)
            return _learned(moved, rates, now, x_F, label_C), logits_of(now, x_F)

        def sequence(x_NF: jax.Array, labels_NC: jax.Array) -> jax.Array:
            unmoved = jax.tree.map(jnp.zeros_like, weights)
            return jax.lax.scan(jax.checkpoint(example), unmoved, (x_NF, labels_NC))[1]

        return jax.vmap(sequence)(as_type(x_BNF, c.dtype), jax.nn.one_hot(labels_BN, c.classes))

    def first_state(self, batch: int) -> MAMLState:
        """The state before the first example; needs no parameters."""
        c = self.config
        zeros = lambda *shape: jnp.zeros((batch, *shape), jnp.float32)  # noqa: E731
        hidden_FH, out_HC = zeros(c.features, c.mlp_width), zeros(c.mlp_width, c.classes)
        moved = Weights(hidden_FH, zeros(c.mlp_width), out_HC, zeros(c.classes))
        return MAMLState(moved, zeros(c.features))

    def step(self, state: MAMLState, x_BF: jax.Array, previous_BC: jax.Array) -> tuple[MAMLState, jax.Array]:
        """Learns the last example, whose label has come, and predicts the next.

        Args:
            state: the examples before, as far as they are remembered.
            x_BF: the next example, float.
            previous_BC: the one-hot label of the last, zeros where there is none.

        Returns:
            The next state, and float32 logits [B, C].
        """
        weights, rates = self.weights, jax.tree.map(jax.nn.softplus, self.raw_rates)

        def sequence(
            moved: Weights, last_F: jax.Array, x_F: jax.Array, label_C: jax.Array
        ) -> tuple[Weights, jax.Array]:
            last_F, x_F = as_type(last_F, self.config.dtype), as_type(x_F, self.config.dtype)
            moved = _learned(moved, rates, jax.tree.map(jnp.add, weights, moved), last_F, label_C)
            return moved, logits_of(jax.tree.map(jnp.add, weights, moved), x_F)

        moved, logits_BC = jax.vmap(sequence)(state.moved, state.x_BF, x_BF, previous_BC)
        return MAMLState(moved, x_BF.astype(jnp.float32)), logits_BC


def _learned(moved: Weights, rates: Weights, now: Weights, x_F: jax.Array, label_C: jax.Array) -> Weights:
    """How far the weights have moved after one more step of SGD on an example."""
    gradient = jax.grad(loss_of)(now, x_F, label_C)
    return jax.tree.map(lambda m, rate, g: m - rate * g, moved, rates, gradient)
