"""The Transformer learner: the shared decoder's blocks on embedded examples (arXiv:2212.04458 §4).

Its state is the keys and values of what it has read: 2 * layers * heads * head_width floats an example. B = batch,
N = examples, F = features, C = classes, D = width.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.in_context.learner_config import LearnerConfig
from models.in_context.tokens import previous_labels
from models.lm import LMConfig
from models.lm.layers import Projection
from models.lm.network import blocks, to_logits


class TransformerLearner(nn.Module):
    """A causal Transformer whose position i has example i and label i - 1."""

    config: LearnerConfig

    def __call__(self, x_BNF: jax.Array, labels_BN: jax.Array) -> jax.Array:
        """Predicts each label from the examples before it; float32 logits [B, N, C]."""
        before_BNF = jnp.pad(x_BNF, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return self._decode(x_BNF, before_BNF, previous_labels(labels_BN, self.config.classes))

    def step(self, state: Any, x_BF: jax.Array, previous_BC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads one more example and predicts its label; see `recurrent.RecurrentLearner.step`."""
        decoder = self.clone(parent=None)
        logits, after = decoder.apply(
            {"params": self.variables["params"], "cache": state["cache"]},
            x_BF[:, None],
            state["example"][:, None],
            previous_BC[:, None],
            decode=True,
            mutable=["cache"],
            method="_decode",
        )
        return {"cache": after["cache"], "example": x_BF}, logits[:, 0]

    def first_state(self, batch: int) -> Any:
        """The cache of N positions, all of them free."""
        c = self.config
        x_BNF, labels_BNC = jnp.zeros((batch, c.examples, c.features)), jnp.zeros((batch, c.examples, c.classes))
        init = lambda: self.init(jax.random.key(0), x_BNF, x_BNF, labels_BNC, decode=True, method="_decode")["cache"]  # noqa: E731
        cache = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(init))
        return {"cache": cache, "example": jnp.zeros((batch, c.features))}

    @nn.compact
    def _decode(
        self, x_BNF: jax.Array, before_BNF: jax.Array, previous_BNC: jax.Array, decode: bool = False
    ) -> jax.Array:
        c, sizes = self.config, decoder_config(self.config)
        read = lambda name: Projection((c.width,), ("features", "embed"), dtype=c.dtype, name=name)  # noqa: E731
        embedded = read("example")(x_BNF)
        embedded += Projection((c.width,), ("vocab", "embed"), dtype=c.dtype, name="label")(previous_BNC)
        if c.shifted:
            embedded += read("example_before")(before_BNF)
        return to_logits(sizes, blocks(sizes, embedded, decode=decode))


def decoder_config(config: LearnerConfig) -> LMConfig:
    """The sizes of the shared decoder; its vocabulary is the classes."""
    return LMConfig(
        vocab_size=config.classes,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        head_width=config.head_width,
        mlp_width=config.mlp_width,
        max_distance=config.near,
        dtype=config.dtype,
    )
