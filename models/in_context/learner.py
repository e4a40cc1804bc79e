"""Learners of one interface, and what can be asked of each: its state's size, its parameters, its answers.

A network has `__call__(x_BNF, labels_BN) -> logits_BNC`, `first_state(batch) -> state` and
`step(state, x_BF, previous_BC) -> (state, logits_BC)`; logits i know examples up to i and labels up to i - 1. Arrays
of a state have the batch in front; scalars are all rows'. B = batch, N = examples, F = features, C = classes,
Q = questions.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.in_context.learner_config import LearnerConfig
from models.in_context.linear_recurrence import LinearRecurrence
from models.in_context.lstm import LSTMLearner
from models.in_context.maml import MAMLLearner
from models.in_context.outer_product import OuterProductLSTM
from models.in_context.tokens import previous_labels
from models.in_context.transformer import TransformerLearner
from models.in_context.vsml import VSML

NETWORKS: dict[str, Any] = {
    "transformer": TransformerLearner,
    "lstm": LSTMLearner,
    "outer_product": OuterProductLSTM,
    "vsml": VSML,
    "linear_recurrence": LinearRecurrence,
    "maml": MAMLLearner,
}


def network_of(config: LearnerConfig) -> nn.Module:
    """The network of a learner."""
    return NETWORKS[config.kind](config)


def init(network: Any, key: jax.Array) -> Any:
    """New variables: "params", and the names of their axes, "params_axes"."""
    return network.init(key, *_shortest(network.config))


def first_params(network: Any, key: jax.Array) -> Any:
    """New parameters."""
    return init(network, key)["params"]


def _shortest(config: LearnerConfig) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros((1, 2, config.features)), jnp.zeros((1, 2), jnp.int32)


def read(network: Any, params: Any, x_BNF: jax.Array, labels_BN: jax.Array) -> Any:
    """The state after some examples, the last one's label still untold.

    Args:
        network: of `network_of`.
        params: its parameters.
        x_BNF: examples.
        labels_BN: their labels.
    """

    def one(state: Any, seen: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        return network.apply({"params": params}, state, *seen, method="step")[0], None

    previous_NBC = previous_labels(labels_BN, network.config.classes).swapaxes(0, 1)
    return jax.lax.scan(one, network.first_state(x_BNF.shape[0]), (x_BNF.swapaxes(0, 1), previous_NBC))[0]


def answer(network: Any, params: Any, state: Any, x_BQF: jax.Array, last_label_B: jax.Array) -> jax.Array:
    """Predicts some questions, each as if it came next after what was read.

    Args:
        network: of `network_of`.
        params: its parameters.
        state: of `read`, of fewer than config.examples examples.
        x_BQF: the questions.
        last_label_B: the label of the last example read, int32; -1 where none was.

    Returns:
        float32 logits [B, Q, C].
    """
    previous_BC = jax.nn.one_hot(last_label_B, network.config.classes)

    def one(x_BF: jax.Array) -> jax.Array:
        return network.apply({"params": params}, state, x_BF, previous_BC, method="step")[1]

    return jax.vmap(one, in_axes=1, out_axes=1)(x_BQF)


def state_size(config: LearnerConfig) -> int:
    """The accessible state: the floats that a sequence's state holds after N examples, counted from its arrays.

    Counters, which are whole numbers, are none of it (arXiv:2212.04458 §4.3).
    """
    state = jax.eval_shape(lambda: network_of(config).first_state(1))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating))


def parameter_count(config: LearnerConfig) -> int:
    """How many numbers meta-training changes."""
    shapes = jax.eval_shape(lambda: first_params(network_of(config), jax.random.key(0)))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


@functools.cache
def logical_axes(config: LearnerConfig) -> Any:
    """The logical axis names of each parameter, in the parameters' structure: tuples such as ("embed", "mlp")."""
    shapes: Any = jax.eval_shape(network_of(config).init, jax.random.key(0), *_shortest(config))
    names = partitioning.get_axis_names(shapes["params_axes"])
    return jax.tree.map(tuple, names, is_leaf=lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec))
