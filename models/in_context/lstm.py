"""The LSTM learner: layers of LSTMs over the examples (arXiv:2212.04458 §4.3), with 2 * width floats of state a layer.

B = batch, N = positions, F = features, C = classes, D = width, E = inputs of a layer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.in_context.recurrent import RecurrentLearner
from models.lm.layers import Projection

FORGET_BIAS = 1.0  # a new cell keeps its content, so that gradients reach far back


class LSTMState(NamedTuple):
    """What one layer remembers: float32 [B, D] each."""

    hidden: jax.Array
    cell: jax.Array


class Affine(nn.Module):
    """A matrix and a bias, from the last axis of the input to new axes.

    Attributes:
        features: sizes of the new axes.
        axes: logical names of the kernel's axes, the contracted one first.
    """

    features: tuple[int, ...]
    axes: tuple[str, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Transforms; float [..., E] to float [..., *features]."""
        y = Projection(self.features, self.axes, name="product")(x)
        bias = partitioning.param_with_axes("bias", nn.initializers.zeros, self.features, axes=self.axes[1:])
        return y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)


class ExampleEncoder(nn.Module):
    """Two layers of rectified units over each example and the label before it, as in the paper's research code.

    relu(relu(x W + y V + b) U + c), each `width` wide.
    """

    width: int

    @nn.compact
    def __call__(self, x_BNF: jax.Array, previous_BNC: jax.Array) -> jax.Array:
        """Embeds each position; float32 [B, N, D]."""
        example = Affine((self.width,), ("features", "embed"), name="example")(x_BNF)
        label = Projection((self.width,), ("classes", "embed"), name="label")(previous_BNC)
        return nn.relu(Affine((self.width,), ("embed", "mlp"), name="mixed")(nn.relu(example + label)))


class LSTMLayer(nn.Module):
    """One LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, g, o = u_t W + b + h_(t-1) U, the gates in this order along an axis of 4; c_t = sigmoid(f + 1) c_(t-1) +
    sigmoid(i) tanh(g); h_t = sigmoid(o) tanh(c_t).
    """

    width: int

    @nn.compact
    def __call__(self, state: LSTMState, u_BNE: jax.Array) -> tuple[LSTMState, jax.Array]:
        """Reads positions one after the other; float32 [B, N, E] to the state after them and [B, N, D]."""
        axes = ("embed", "stack", "mlp")
        inputs_BNGD = Affine((4, self.width), axes, name="input")(u_BNE)
        recurrent_DGD = partitioning.param_with_axes(
            "recurrent", nn.initializers.normal(self.width**-0.5), (self.width, 4, self.width), axes=axes
        )

        def one(state: LSTMState, input_BGD: jax.Array) -> tuple[LSTMState, jax.Array]:
            next_state = lstm_cell(input_BGD + jnp.tensordot(state.hidden, recurrent_DGD, 1), state)
            return next_state, next_state.hidden

        return over_positions(one, state, inputs_BNGD)


class LSTMLearner(RecurrentLearner):
    """`layers` LSTMs over the encoded examples, and a linear readout of the last."""

    def first_state(self, batch: int) -> tuple[LSTMState, ...]:
        """Nothing read yet: zeros, for each layer."""
        zeros = jnp.zeros((batch, self.config.width))
        return tuple(LSTMState(zeros, zeros) for _ in range(self.config.layers))

    @nn.compact
    def extend(self, state: Any, x_BNF: jax.Array, previous_BNC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads some more examples; the state after them, and float32 logits [B, N, C]."""
        c = self.config
        u_BND = ExampleEncoder(c.width, name="encoder")(x_BNF, previous_BNC)
        states = []
        for layer in range(c.layers):
            next_state, u_BND = LSTMLayer(c.width, name=f"lstm_{layer}")(state[layer], u_BND)
            states.append(next_state)
        return tuple(states), Affine((c.classes,), ("embed", "vocab"), name="logits")(u_BND)


def lstm_cell(gates: jax.Array, state: LSTMState) -> LSTMState:
    """The next state of an LSTM's cells; gates [..., 4, D] before their squashing, state [..., D]."""
    i, f, g, o = (gates[..., gate, :] for gate in range(4))
    cell = nn.sigmoid(f + FORGET_BIAS) * state.cell + nn.sigmoid(i) * jnp.tanh(g)
    return LSTMState(nn.sigmoid(o) * jnp.tanh(cell), cell)


def over_positions(one: Callable[[Any, Any], tuple[Any, Any]], state: Any, inputs: Any) -> tuple[Any, Any]:
    """Scans a function over the second axis of its inputs.

    Args:
        one: takes the state and the inputs of one position, gives the next state and the output.
        state: before the first position.
        inputs: a tree of arrays [B, N, ...].

    Returns:
        The state after the last position, and the outputs as arrays [B, N, ...].
    """
    swap = lambda tree: jax.tree.map(lambda x: x.swapaxes(0, 1), tree)  # noqa: E731
    if jax.tree.leaves(inputs)[0].shape[1] == 1:  # no loop: callers that step have one of their own
        state, out = one(state, jax.tree.map(lambda x: x[:, 0], inputs))
        return state, jax.tree.map(lambda x: x[:, None], out)
    state, out = jax.lax.scan(one, state, swap(inputs))
    return state, swap(out)
