"""Exact code lengths of whole documents under a language model.

A document's tokens, its end id included, are cut into pieces of at most `context` tokens that do not overlap. A piece
sees nothing before itself: its first input is the end id where the document begins (the one before it has ended), and
the pad id elsewhere, as in training. So the sum over all tokens is the length of a code that could be written, an
upper bound on the text's information, since a text may have other token sequences that the model would know too.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.lm.decoding import END_ID
from models.lm.network import DecoderLM
from models.training.losses import PAD_ID, cross_entropy

ROWS = 8


def pieces_of(documents: Sequence[np.ndarray], context: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of all pieces of all documents, in order.

    Args:
        documents: int [tokens] each, end ids included.
        context: tokens of a piece.

    Returns:
        int32 [pieces, context] each, padded behind with the pad id.
    """
    if context < 1:
        raise ValueError(f"a context has at least 1 token, got {context}")
    counts = [-(-len(document) // context) for document in documents]
    targets = np.full((sum(counts), context), PAD_ID, np.int32)
    inputs = targets.copy()
    row = 0
    for document, count in zip(documents, counts, strict=True):
        flat = targets[row : row + count].reshape(-1)
        flat[: len(document)] = document
        inputs[row : row + count, 1:] = targets[row : row + count, :-1]
        if count:
            inputs[row, 0] = END_ID
        row += count
    return inputs, targets


def token_nats(
    network: DecoderLM,
    params: Any,
    documents: Sequence[np.ndarray],
    *,
    context: int,
    on_piece: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """The code length of every token, and whether it was the most probable one.

    Args:
        network: the model.
        params: its parameters.
        documents: int [tokens] each, end ids included; ids of at least 1.
        context: tokens of a piece.
        on_piece: called now and then with pieces done and in all.

    Returns:
        nats float32 [pieces, context] and right bool [pieces, context], 0 and False on padding. Sum nats in float64.
    """
    inputs, targets = pieces_of(documents, context)
    nats, right = np.zeros(targets.shape, np.float32), np.zeros(targets.shape, bool)
    for start in range(0, len(targets), ROWS):
        rows = slice(start, start + ROWS)
        short = ROWS - len(targets[rows])
        block = [np.pad(part[rows], ((0, short), (0, 0)), constant_values=PAD_ID) for part in (inputs, targets)]
        told = [np.asarray(part)[: ROWS - short] for part in _block_nats(network, params, *block)]
        real = targets[rows] != PAD_ID
        nats[rows], right[rows] = told[0] * real, told[1] & real
        on_piece(min(start + ROWS, len(targets)), len(targets))
    return nats, right


@functools.partial(jax.jit, static_argnames="network")
def _block_nats(network: DecoderLM, params: Any, inputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits = jnp.asarray(network.apply({"params": params}, inputs))
    nats, log_z = cross_entropy(logits, targets)
    return nats, nats <= log_z - jnp.max(logits, axis=-1)
