"""What serving a language model costs: bytes of text for each second and each forward step, and samples to read."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.equal_info.ids import END_OF_DOCUMENT_ID, SPECIAL_IDS
from models.lm import DecoderLM
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling, generate
from workflows.bench.table import median_seconds
from workflows.tokenizers import Tokenizer

REPEATS = 3


def text_of(tokenizer: Tokenizer, ids: np.ndarray) -> bytes:
    """The text of generated ids: what pads or ends is left out."""
    return tokenizer.decode(ids[ids >= SPECIAL_IDS])


def continued(
    model: TrainedLM,
    tokenizer: Tokenizer,
    prompts: Sequence[bytes],
    *,
    new_tokens: int,
    sampling: Sampling,
    seed: int = 0,
    end_id: int = END_OF_DOCUMENT_ID,
) -> list[np.ndarray]:
    """Continuations of texts that begin documents.

    Args:
        model: the language model.
        tokenizer: the one it was trained with.
        prompts: what documents begin with.
        new_tokens: the most tokens to generate.
        sampling: how tokens are drawn.
        seed: of the draws.
        end_id: stops a row; -1: none does.

    Returns:
        Ids, int32 [new tokens] each.
    """
    # a document follows the end of another, as in training
    rows = [np.concatenate([[END_OF_DOCUMENT_ID], ids]) for ids in tokenizer.encode(prompts)]
    lengths = np.array([len(row) for row in rows], np.int32)
    padded = np.zeros((len(rows), lengths.max()), np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    out = generate(
        DecoderLM(model.config),
        model.params,
        jnp.asarray(padded),
        jnp.asarray(lengths),
        jax.random.key(seed),
        new_tokens=new_tokens,
        sampling=sampling,
        end_id=end_id,
    )
    return [np.asarray(row)[: int(size)] for row, size in zip(out.tokens, out.lengths, strict=True)]


def serving_speed(model: TrainedLM, tokenizer: Tokenizer, prompts: Sequence[bytes], new_tokens: int) -> dict[str, Any]:
    """Generates from prompts at temperature 1, never stopping, with the key-value cache.

    Returns:
        served_bytes_per_s: over all rows, prompt reading included; the median of repeats after compiling.
        served_bytes_per_step: of one row, for each forward step.
        served_tokens_per_s: likewise over all rows.
    """
    run = lambda: continued(model, tokenizer, prompts, new_tokens=new_tokens, sampling=Sampling(), end_id=-1)  # noqa: E731
    size = sum(len(text_of(tokenizer, ids)) for ids in run())
    seconds = median_seconds(run, REPEATS)
    tokens = len(prompts) * new_tokens
    return {
        "served_bytes_per_s": size / seconds,
        "served_bytes_per_step": size / tokens,
        "served_tokens_per_s": tokens / seconds,
    }
