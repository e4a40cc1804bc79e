"""What meta-training minimises, and what a learner is judged by. B = contexts, N = examples, C = classes."""

from typing import Any

import jax
import jax.numpy as jnp

from models.in_context.contexts import Contexts
from models.training import LossFunction, average, cross_entropy

LAST_SHARE = 10  # what is said of a full context is the mean over the last tenth of its positions


def in_context_loss(network: Any) -> LossFunction:
    """The mean nats of all labels of all positions (arXiv:2212.04458 Eq. 2).

    Args:
        network: of `learner.network_of`.

    Returns:
        (params, batch) -> the loss, and metrics `loss`, `accuracy` and `last_accuracy`, of the last tenth of the
        positions. A batch is `Contexts`.
    """

    def loss_function(params: Any, batch: Contexts) -> tuple[jax.Array, Any]:
        x_BNF, labels_BN = batch
        logits_BNC = network.apply({"params": params}, x_BNF, labels_BN)
        nats_BN, _ = cross_entropy(logits_BNC, labels_BN)
        right_BN = (jnp.argmax(logits_BNC, axis=-1) == labels_BN).astype(jnp.float32)
        last_BK = right_BN[:, -last_positions(labels_BN.shape[1]) :]
        loss = jnp.mean(nats_BN)
        metrics = {
            "loss": average(jnp.sum(nats_BN), nats_BN.size),
            "accuracy": average(jnp.sum(right_BN), right_BN.size),
            "last_accuracy": average(jnp.sum(last_BK), last_BK.size),
        }
        return loss, metrics

    return loss_function


def last_positions(examples: int) -> int:
    """How many positions count as a full context."""
    return max(1, examples // LAST_SHARE)


def position_scores(network: Any, params: Any, contexts: Contexts) -> tuple[jax.Array, jax.Array]:
    """Accuracy and mean nats at each position of some contexts; float32 [N] each."""
    logits_BNC = network.apply({"params": params}, contexts.x_BNF, contexts.labels_BN)
    nats_BN, _ = cross_entropy(logits_BNC, contexts.labels_BN)
    return jnp.mean(jnp.argmax(logits_BNC, axis=-1) == contexts.labels_BN, axis=0), jnp.mean(nats_BN, axis=0)
