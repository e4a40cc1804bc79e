"""Losses of token models, and what is counted beside them. B = batch, L = length, V = vocabulary."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics

Params = Any
Batch = Any
Metrics = Mapping[str, clu_metrics.Metric]
LossFunction = Callable[[Params, Batch], tuple[jax.Array, Metrics]]

PAD_ID = 0  # also the input before the first target, as in T5X
END_ID = 1  # ends a document, or an example that is packed in a row with others


def average(total: jax.Array, count: jax.Array | float) -> clu_metrics.Average:
    """The metric total / count, which merges with others by adding both."""
    return clu_metrics.Average(total=total, count=jnp.asarray(count, jnp.float32))  # pyright: ignore[reportCallIssue]


def cross_entropy(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Code length of each target, and the log of the softmax's normaliser.

    Args:
        logits: float [..., V].
        targets: int [...], ids below V.

    Returns:
        -log softmax(logits)[target] in nats, and log sum exp logits; float32 [...] each.
    """
    logits = logits.astype(jnp.float32)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return log_z - chosen, log_z


def inputs_of(targets_BL: jax.Array, first: int = PAD_ID) -> jax.Array:
    """What the model reads to predict these targets: the same, one place later, behind `first`; int [B, L]."""
    return jnp.pad(targets_BL[:, :-1], ((0, 0), (1, 0)), constant_values=first)


def packed_batch(stored_BL: jax.Array, predicted_from: int = PAD_ID + 1) -> dict[str, jax.Array]:
    """The batch of rows of packed examples, as they are stored (`seqio_tasks.pair_rows`).

    An example is a prompt, stored negated, and a target that ends in END_ID; 0 pads a row. Each is read from PAD_ID on
    and sees nothing of its neighbours, as T5X's packing has it (seqio.PrefixLMFeatureConverter, pack=True): positions
    are relative, so that its loss is that of the example alone.

    Args:
        stored_BL: int [B, L].
        predicted_from: what is stored below it is read but does not count: prompts and padding, or also END_ID.

    Returns:
        What `lm_loss` reads: "targets", "inputs", "weights" (bool) and "segments", [B, L] each.
    """
    targets_BL = jnp.abs(stored_BL)
    ends_BL = (targets_BL == END_ID).astype(jnp.int32)
    # the number of ends before a position is the number of its example in the row
    segments_BL = jnp.cumsum(ends_BL, axis=1) - ends_BL
    inputs_BL = inputs_of(targets_BL)
    return {
        "targets": targets_BL,
        "inputs": jnp.where(inputs_BL == END_ID, PAD_ID, inputs_BL),
        "weights": stored_BL >= predicted_from,
        "segments": segments_BL,
    }


def lm_loss(network: nn.Module, z_loss: float = 0.0, *, predicted_from: int = PAD_ID + 1) -> LossFunction:
    """The loss of a language model: mean nats of the targets that count, plus z_loss * mean log(Z)^2 over them.

    Args:
        network: int [B, L] inputs to float [B, L, V] logits.
        z_loss: weight of the squared log normaliser (T5X's default for large models is 1e-4).
        predicted_from: targets below this id are read but do not count: padding, or also a source that is only given.

    Returns:
        (params, batch) -> the loss, and metrics `loss` (without the z-loss), `z_loss`, `accuracy`. A batch has
        "targets", int [B, L], and may have "inputs" (else the targets, one place later), "weights" (else 1 for targets
        that count) and "segments" (documents packed in a row), [B, L] each.
    """

    def loss_function(params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        targets = batch["targets"]
        inputs = batch["inputs"] if "inputs" in batch else inputs_of(targets)
        weights = batch["weights"] if "weights" in batch else targets >= predicted_from
        weights = weights.astype(jnp.float32)
        logits: Any = network.apply({"params": params}, inputs, segments_BL=batch.get("segments"))
        nats, log_z = cross_entropy(logits, targets)
        total = jnp.maximum(weights.sum(), 1.0)
        extra = z_loss * jnp.sum(jnp.square(log_z) * weights)
        # the best token costs log_z - max; an argmax over the vocabulary would cost a tenth of the step on a CPU
        right = jnp.sum((nats <= log_z - jnp.max(logits, axis=-1)) * weights)
        loss = jnp.sum(nats * weights)
        metrics = {
            "loss": average(loss, total),
            "z_loss": average(extra, total),
            "accuracy": average(right, total),
        }
        return (loss + extra) / total, metrics

    return loss_function
