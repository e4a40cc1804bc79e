"""Tasks on generated sequences: recurrent networks and a transformer that predict each next token."""

import functools
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.learned_optimizers.tasks.image_tasks import READOUT_SCALE, readout_init
from models.learned_optimizers.tasks.sequences import SequenceConfig, sequences, transitions
from models.learned_optimizers.tasks.task import Task
from models.lm.config import LMConfig
from models.lm.network import DecoderLM
from models.training.losses import cross_entropy
from shammie.errors import UserError, unknown

CELLS = {"vanilla": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


@dataclass(frozen=True)
class RNNConfig:
    """Sequences, and the recurrent network that is trained on them.

    Attributes:
        data: of the sequences.
        width: of the embedding and the state.
        cell: kind of recurrence.
    """

    data: SequenceConfig = field(default_factory=SequenceConfig)
    width: int = 16
    cell: Literal["vanilla", "gru", "lstm"] = "gru"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UserError(f"RNNConfig.width is {self.width}", "give at least 1")
        if self.cell not in CELLS:
            raise unknown("cell", self.cell, CELLS)


@dataclass(frozen=True)
class TransformerConfig:
    """Sequences, and the decoder that is trained on them (`models.lm`).

    Attributes:
        data: of the sequences.
        width: of the residual stream.
        layers: blocks.
        heads: of attention, which share the width.
        mlp_width: of the gated MLP.
    """

    data: SequenceConfig = field(default_factory=SequenceConfig)
    width: int = 16
    layers: int = 1
    heads: int = 2
    mlp_width: int = 32

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise UserError(f"TransformerConfig.{name} is {getattr(self, name)}", "give at least 1")
        if self.width % self.heads:
            raise UserError(
                f"TransformerConfig.width is {self.width} with {self.heads} heads", "give heads that divide the width"
            )


class RecurrentLM(nn.Module):
    """An embedding, a recurrence and a readout; V = vocabulary.

    Attributes:
        config: sizes.
    """

    config: RNNConfig

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        """Predicts each next token; int [B, L] to float [B, L, V]."""
        c = self.config
        vocabulary = c.data.vocabulary
        # the product with a one-hot matrix: for tables this small its gradient is cheaper than a scatter
        embed = nn.Dense(c.width, use_bias=False, kernel_init=nn.initializers.normal(1.0), name="embedding")
        x_BLD = embed(jax.nn.one_hot(tokens_BL, vocabulary))
        x_BLD = nn.RNN(CELLS[c.cell](c.width, name="cell"))(x_BLD)
        return nn.Dense(vocabulary, kernel_init=readout_init, name="readout")(x_BLD)


@functools.cache
def rnn_lm(config: RNNConfig = RNNConfig()) -> Task:
    """A recurrent language model; the loss is the mean cross-entropy of tokens in nats, first log(vocabulary)."""
    return _sequence_task(f"{config.cell}_lm", config.data, RecurrentLM(config))


@functools.cache
def transformer_lm(config: TransformerConfig = TransformerConfig()) -> Task:
    """A decoder-only language model; the loss is the mean cross-entropy of tokens in nats, first log(vocabulary)."""
    network = DecoderLM(
        LMConfig(
            vocab_size=config.data.vocabulary,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            head_width=config.width // config.heads,
            mlp_width=config.mlp_width,
            max_distance=config.data.length,
        )
    )
    return _sequence_task("transformer_lm", config.data, network)


def _sequence_task(name: str, data: SequenceConfig, network: nn.Module) -> Task:
    def init(world: jax.Array, key: jax.Array) -> Any:
        del world
        params: Any = network.init(key, jnp.zeros((1, data.length), jnp.int32))["params"]
        if "logits" in params:  # the decoder's readout, which begins as small as the others here
            params = {**params, "logits": jax.tree.map(lambda p: p * READOUT_SCALE, params["logits"])}
        return params

    def loss(world: jax.Array, params: Any, tokens_BL: jax.Array) -> jax.Array:
        del world
        logits: Any = network.apply({"params": params}, tokens_BL[:, :-1])
        return jnp.mean(cross_entropy(logits, tokens_BL[:, 1:])[0])

    draw, batch = functools.partial(transitions, data), functools.partial(sequences, data)
    return Task(name, draw, init, batch, loss, math.log(data.vocabulary), data.batch_size)
