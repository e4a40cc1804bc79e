"""VSML: a learner made of many tiny LSTMs that share their weights (Kirsch & Schmidhuber 2021, arXiv:2012.14905).

A grid has an LSTM for each pair of an input and an output: they stand where a network has weights, so the shared ones
are a learning rule, and know neither which feature nor which class they serve. Defined as in the research code of
arXiv:2212.04458 (google/learned_optimization, research/data_driven) where that has one grid. B = batch, N = positions,
F = features, C = classes, I = inputs and O = outputs of a grid, S = head width, M = message.
"""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.in_context.learner_config import LearnerConfig
from models.in_context.lstm import LSTMState, lstm_cell, over_positions
from models.in_context.recurrent import RecurrentLearner


class GridState(NamedTuple):
    """What one grid remembers, float32: its cells [B, I, O, S] and the messages it sent last."""

    cells: LSTMState
    forward_BOM: jax.Array
    backward_BIM: jax.Array


class GridWeights(NamedTuple):
    """What the LSTMs of one grid share; its size knows nothing of I and O."""

    from_inputs: jax.Array  # [M + message from below, 4, S]
    from_outputs: jax.Array  # [M + message from above, 4, S]
    recurrent: jax.Array  # [S, 4, S]
    bias: jax.Array  # [4, S]
    forward: jax.Array  # [S, M]
    forward_bias: jax.Array  # [M]
    backward: jax.Array  # [S, M]
    backward_bias: jax.Array  # [M]


class VSML(RecurrentLearner):
    """`layers` grids, from the features through `heads` hidden neurons a layer to the classes.

    A cell (a, b) of a grid reads what comes from below to input a (a feature, or the message of a hidden neuron), what
    comes from above to output b (the label before, or a message), and its grid's own last messages to a and to b. From
    the new hidden states of its LSTM, h[a, b], the grid sends to each output the mean over inputs of h V + c, and to
    each input the mean over outputs of h V' + c'. The grids tick once a position, upwards, so messages go up at once
    and down one grid a position. The first number of a class's message is its logit. Messages have head_width / 2
    numbers, rounded up.

    Permuting classes permutes logits; permuting features leaves them. Hidden neurons alone have a name, a learned
    vector added to what they send: with none they would all stay the same.
    """

    def first_state(self, batch: int) -> tuple[GridState, ...]:
        """Nothing read yet: zeros, for each grid."""
        c, message = self.config, message_width(self.config)
        sizes = grid_sizes(c)
        states = []
        for inputs, outputs in itertools.pairwise(sizes):
            zeros = jnp.zeros((batch, inputs, outputs, c.head_width))
            sent = [jnp.zeros((batch, neurons, message)) for neurons in (outputs, inputs)]
            states.append(GridState(LSTMState(zeros, zeros), *sent))
        return tuple(states)

    @nn.compact
    def extend(self, state: Any, x_BNF: jax.Array, previous_BNC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads some more examples; the state after them, and float32 logits [B, N, C]."""
        c, message = self.config, message_width(self.config)
        last = c.layers - 1
        grids = [
            grid_weights(f"grid_{n}", c.head_width, message, message if n else 1, 1 if n == last else message)
            for n in range(c.layers)
        ]
        names_1JM = [
            partitioning.param_with_axes(
                f"names_{n}", nn.initializers.normal(1.0), (c.heads, message), axes=("heads", "kv")
            )[None]
            for n in range(last)
        ]

        def one(states: Any, seen: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            x_BF, previous_BC = seen
            below, next_states = x_BF[:, :, None], []
            for n, grid in enumerate(grids):
                above = previous_BC[:, :, None] if n == last else states[n + 1].backward_BIM + names_1JM[n]
                next_states.append(tick(grid, states[n], below, above))
                if n < last:
                    below = next_states[n].forward_BOM + names_1JM[n]
            return tuple(next_states), next_states[last].forward_BOM[:, :, 0]

        # only states are kept for the gradient: the gates of all cells at all positions would be gigabytes
        return over_positions(jax.checkpoint(one, prevent_cse=False), state, (x_BNF, previous_BNC))


def message_width(config: LearnerConfig) -> int:
    """M, the numbers in a message."""
    return (config.head_width + 1) // 2


def grid_sizes(config: LearnerConfig) -> tuple[int, ...]:
    """Neurons in each layer, of which neighbours have a grid between them: features, hidden ones, classes."""
    return (config.features, *[config.heads] * (config.layers - 1), config.classes)


def grid_weights(name: str, width: int, message: int, below: int, above: int) -> GridWeights:
    """Makes the shared weights of one grid, within the compact method of its network.

    Args:
        name: put before the parameters' names.
        width: S, of each LSTM.
        message: M.
        below: numbers in what comes from below.
        above: numbers in what comes from above.
    """
    gates, inputs = ("embed", "stack", "mlp"), 2 * message + below + above + width
    parts = {
        "from_inputs": ((message + below, 4, width), gates, inputs),
        "from_outputs": ((message + above, 4, width), gates, inputs),
        "recurrent": ((width, 4, width), gates, inputs),
        "bias": ((4, width), gates[1:], 0),
        "forward": ((width, message), ("embed", "kv"), width),
        "forward_bias": ((message,), ("kv",), 0),
        "backward": ((width, message), ("embed", "kv"), width),
        "backward_bias": ((message,), ("kv",), 0),
    }
    make = lambda part, shape, axes, fan_in: partitioning.param_with_axes(  # noqa: E731
        f"{name}_{part}",
        nn.initializers.normal(fan_in**-0.5) if fan_in else nn.initializers.zeros,
        shape,
        axes=axes,
    )
    return GridWeights(**{part: make(part, *how) for part, how in parts.items()})


def tick(weights: GridWeights, state: GridState, below: jax.Array, above: jax.Array) -> GridState:
    """Updates all cells of a grid and its messages.

    Args:
        weights: of the grid.
        state: of the grid, before.
        below: what comes to its inputs, float32 [B, I, below].
        above: what comes to its outputs, float32 [B, O, above].
    """
    # sums over what a cell reads are taken where it is known: at inputs, at outputs, and for its own state at the cell
    to_inputs = jnp.tensordot(jnp.concatenate([state.backward_BIM, below], -1), weights.from_inputs, 1)
    to_outputs = jnp.tensordot(jnp.concatenate([state.forward_BOM, above], -1), weights.from_outputs, 1)
    to_outputs += weights.bias[None, None]
    own = jnp.tensordot(state.cells.hidden, weights.recurrent, 1)
    cells = lstm_cell(own + to_inputs[:, :, None] + to_outputs[:, None], state.cells)
    forward_BOM = jnp.tensordot(cells.hidden.mean(1), weights.forward, 1) + weights.forward_bias[None, None]
    backward_BIM = jnp.tensordot(cells.hidden.mean(2), weights.backward, 1) + weights.backward_bias[None, None]
    return GridState(cells, forward_BOM, backward_BIM)
