"""The outer-product LSTM learner: an LSTM whose cell is a matrix, a fast weight memory (arXiv:2212.04458 §4.3).

Defined as in the paper's research code (google/learned_optimization, research/data_driven). A layer has
heads * head_width * (head_width + 1) floats of state. B = batch, N = positions, H = heads, K = head width, E = inputs.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.in_context.lstm import FORGET_BIAS, Affine, ExampleEncoder, over_positions
from models.in_context.recurrent import RecurrentLearner


class OuterProductState(NamedTuple):
    """What one layer remembers: float32, hidden [B, H, K] and cell [B, H, K, K]."""

    hidden: jax.Array
    cell: jax.Array


class OuterProductLayer(nn.Module):
    """One outer-product LSTM.

    z = u_t W + b + h_(t-1) U has 8 K numbers for each head: three vectors a of K, three vectors b, a query q and an
    output gate o. With s = softplus(scale), each of the matrices I, G, F is s tanh(a) tanh(b)^T for its own pair;
    C_t = sigmoid(F + 1) * C_(t-1) + sigmoid(I) * G, elementwise; h_t = sigmoid(o) * tanh(C_t^T q). Of one head as wide
    as the layer it is the paper's.
    """

    heads: int
    head_width: int

    @nn.compact
    def __call__(self, state: OuterProductState, u_BNE: jax.Array) -> tuple[OuterProductState, jax.Array]:
        """Reads positions one after the other; float32 [B, N, E] to the state after them and [B, N, H * K]."""
        heads, size = self.heads, self.head_width
        axes = ("embed", "heads", "kv")
        inputs_BNHZ = Affine((heads, 8 * size), axes, name="input")(u_BNE)
        recurrent_DHZ = partitioning.param_with_axes(
            "recurrent",
            nn.initializers.normal((heads * size) ** -0.5),
            (heads * size, heads, 8 * size),
            axes=axes,
        )
        scale = nn.softplus(partitioning.param_with_axes("scale", nn.initializers.zeros, (), axes=()))

        def one(state: OuterProductState, input_BHZ: jax.Array) -> tuple[OuterProductState, jax.Array]:
            flat_BD = state.hidden.reshape(-1, heads * size)
            z_BH8K = (input_BHZ + jnp.tensordot(flat_BD, recurrent_DHZ, 1)).reshape(-1, heads, 8, size)
            rows_BH3K, columns_BH3K = scale * jnp.tanh(z_BH8K[:, :, :3]), jnp.tanh(z_BH8K[:, :, 3:6])
            i, g, f = (rows_BH3K[:, :, n, :, None] * columns_BH3K[:, :, n, None, :] for n in range(3))
            cell_BHKK = nn.sigmoid(f + FORGET_BIAS) * state.cell + nn.sigmoid(i) * g
            read_BHK = jnp.einsum("bhij,bhi->bhj", cell_BHKK, z_BH8K[:, :, 6])
            hidden_BHK = nn.sigmoid(z_BH8K[:, :, 7]) * jnp.tanh(read_BHK)
            return OuterProductState(hidden_BHK, cell_BHKK), hidden_BHK

        # the gates, several matrices a position, are computed again for the gradient: memory would hold them all
        state, hidden_BNHK = over_positions(jax.checkpoint(one, prevent_cse=False), state, inputs_BNHZ)
        return state, hidden_BNHK.reshape(*hidden_BNHK.shape[:2], heads * size)


class OuterProductLSTM(RecurrentLearner):
    """`layers` outer-product LSTMs over the encoded examples, and a linear readout of the last."""

    def first_state(self, batch: int) -> tuple[OuterProductState, ...]:
        """Nothing read yet: zeros, for each layer."""
        c = self.config
        hidden, cell = (jnp.zeros((batch, c.heads, *(c.head_width,) * axes)) for axes in (1, 2))
        return tuple(OuterProductState(hidden, cell) for _ in range(c.layers))

    @nn.compact
    def extend(self, state: Any, x_BNF: jax.Array, previous_BNC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads some more examples; the state after them, and float32 logits [B, N, C]."""
        c = self.config
        u_BND = ExampleEncoder(c.width, name="encoder")(x_BNF, previous_BNC)
        states = []
        for layer in range(c.layers):
            next_state, u_BND = OuterProductLayer(c.heads, c.head_width, name=f"lstm_{layer}")(state[layer], u_BND)
            states.append(next_state)
        return tuple(states), Affine((c.classes,), ("embed", "vocab"), name="logits")(u_BND)
