"""What language models are measured on: whole documents, or the paper's examples cut to length.

`Documents` gives exact code lengths: every token of whole documents, ends included, over their bytes.
`Examples` gives the paper's number (arXiv:2404.03626 section 3.8): the mean loss of the first tokens of examples times
the tokens per byte of whole ones. Where the tokens seen are not as dense as the rest, the two differ; so the exact code
length of the tokens seen over the bytes that they stand for is told too, where the method can tell these bytes.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from models.equal_info.ids import END_OF_DOCUMENT_ID, PAD_ID, SPECIAL_IDS
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.code_length import pieces_of, token_nats
from models.lm.flops import forward_flops_per_token
from models.training import cross_entropy, inputs_of
from seqio_tasks.metrics import bits_per_byte
from workflows.tokenizers import Tokenizer

ROWS_AT_ONCE = 8


class HeldOut(Protocol):
    """What a method's models are measured on."""

    def validation_bits(self, network: DecoderLM, params: Any) -> float:
        """Bits per byte of validation text."""
        ...

    def about(self, config: LMConfig) -> dict[str, Any]:
        """What holds for all models of the method: bytes per token, FLOPs per byte, context."""
        ...

    def measured(self, trained: TrainedLM) -> dict[str, Any]:
        """What is measured of one model on test text, `bits_per_byte` among it."""
        ...


@dataclass(frozen=True)
class Texts:
    """The documents that every method is measured on."""

    validation: list[bytes]
    test: list[bytes]


def encoded(tokenizer: Tokenizer, texts: Sequence[bytes]) -> list[np.ndarray]:
    """Documents as model ids, each with its end."""
    return [np.append(ids, np.int32(END_OF_DOCUMENT_ID)) for ids in tokenizer.encode(texts)]


@dataclass(frozen=True)
class Documents:
    """Whole documents, in pieces that see nothing before themselves.

    Attributes:
        tokenizer: how text is read.
        texts: what is measured.
        context: tokens that a piece has at most.
    """

    tokenizer: Tokenizer
    texts: Texts
    context: int

    @functools.cached_property
    def _validation(self) -> list[np.ndarray]:
        return encoded(self.tokenizer, self.texts.validation)

    @functools.cached_property
    def _test(self) -> list[np.ndarray]:
        return encoded(self.tokenizer, self.texts.test)

    def validation_bits(self, network: DecoderLM, params: Any) -> float:
        """The code length of the validation documents over their bytes."""
        nats, _ = token_nats(network, params, self._validation, context=self.context)
        return bits_per_byte(float(nats.sum(dtype=np.float64)), sum(map(len, self.texts.validation)))

    def about(self, config: LMConfig) -> dict[str, Any]:
        """Ends of documents are no tokens of text, but cost what tokens cost."""
        text_bytes, tokens = sum(map(len, self.texts.test)), sum(map(len, self._test))
        return {
            "window_tokens": self.tokenizer.window_tokens,
            "bytes_per_token": text_bytes / (tokens - len(self.texts.test)),
            "flops_per_byte": forward_flops_per_token(config, self.context) * tokens / text_bytes,
            "context": self.context,
        }

    def measured(self, trained: TrainedLM) -> dict[str, Any]:
        """Exact code lengths by both context rules, and by position."""
        network, documents, size = DecoderLM(trained.config), self._test, sum(map(len, self.texts.test))
        density = size / sum(map(len, documents))
        nats, right = token_nats(network, trained.params, documents, context=self.context)
        matched_context = max(1, round(self.context / density))
        matched = nats
        if matched_context != self.context:
            matched, _ = token_nats(network, trained.params, documents, context=matched_context)
        return {
            "bits_per_byte": bits_per_byte(float(nats.sum(dtype=np.float64)), size),
            "byte_matched_context": matched_context,
            "byte_matched_bits_per_byte": bits_per_byte(float(matched.sum(dtype=np.float64)), size),
            **by_position(nats, right, documents, density, self.tokenizer.window_tokens),
        }


def by_position(
    nats: np.ndarray, right: np.ndarray, documents: list[np.ndarray], density: float, window_tokens: int
) -> dict[str, Any]:
    """Bits per byte and accuracy by position in the context, and accuracy by position in the code's window.

    Args:
        nats: of each token, float32 [pieces, context], 0 on padding.
        right: whether it was the most probable one, bool [pieces, context].
        documents: int [tokens] each, which the pieces are cut from.
        density: bytes per token.
        window_tokens: tokens of a window.
    """
    context = nats.shape[1]
    targets = pieces_of(documents, context)[1]
    real, text = targets != PAD_ID, targets > END_OF_DOCUMENT_ID
    by_context = []
    for power in range(math.ceil(math.log2(context)) + 1):
        low, high = 1 << power >> 1, min(1 << power, context)
        tokens = int(real[:, low:high].sum())
        if tokens:
            bits = float(nats[:, low:high].sum(dtype=np.float64)) / math.log(2) / tokens / density
            by_context.append([low + 1, high, bits, float(right[:, low:high].sum()) / tokens])
    place = np.concatenate([np.arange(-(-len(document) // context) * context) for document in documents])
    place = place.reshape(nats.shape) % window_tokens
    in_window = [float(right[text & (place == at)].mean()) for at in range(window_tokens)]
    return {"by_context_position": by_context, "accuracy_by_window_position": in_window}


@dataclass(frozen=True, eq=False)
class Examples:
    """The paper's examples: the first tokens of each, and how dense whole ones are.

    Attributes:
        validation: int [rows, length].
        test: int [rows, length].
        bytes_per_token: of whole held-out examples.
        window_tokens: tokens after which the method's windows begin anew.
        row_bytes: bytes that all test rows stand for; None where the method cannot tell.
    """

    validation: np.ndarray
    test: np.ndarray
    bytes_per_token: float
    window_tokens: int = 1
    row_bytes: int | None = None

    def validation_bits(self, network: DecoderLM, params: Any) -> float:
        """The paper's bits per byte of the validation rows."""
        nats, _ = row_nats(network, params, self.validation)
        return self._bits(nats)

    def _bits(self, nats: np.ndarray) -> float:
        return float(nats.mean(dtype=np.float64)) / math.log(2) / self.bytes_per_token

    def about(self, config: LMConfig) -> dict[str, Any]:
        """FLOPs per byte as we count them and as the paper does: 2 * block parameters / bytes per token; without M1."""
        length = self.test.shape[1]
        return {
            "window_tokens": self.window_tokens,
            "bytes_per_token": self.bytes_per_token,
            "flops_per_byte": forward_flops_per_token(config, length) / self.bytes_per_token,
            "paper_flops_per_byte": 2.0 * config.block_parameters() / self.bytes_per_token,
            "context": length,
        }

    def measured(self, trained: TrainedLM) -> dict[str, Any]:
        """The paper's bits per byte, accuracy, both by position in the window, and the exact code length if known."""
        nats, right = row_nats(DecoderLM(trained.config), trained.params, self.test)
        place = np.arange(nats.shape[1]) % self.window_tokens
        exact = {}
        if self.row_bytes is not None:
            exact["exact_bits_per_byte"] = bits_per_byte(float(nats.sum(dtype=np.float64)), self.row_bytes)
        return {
            "bits_per_byte": self._bits(nats),
            **exact,
            "bits_per_token": float(nats.mean(dtype=np.float64)) / math.log(2),
            "accuracy": float(right.mean()),
            "measured_tokens": int(nats.size),
            "accuracy_by_window_position": [float(right[:, place == at].mean()) for at in range(self.window_tokens)],
            "bits_by_window_position": [
                float(nats[:, place == at].mean(dtype=np.float64)) / math.log(2) for at in range(self.window_tokens)
            ],
        }


def row_nats(
    network: DecoderLM, params: Any, rows: np.ndarray, *, predicted_from: int = SPECIAL_IDS - 1
) -> tuple[np.ndarray, np.ndarray]:
    """The code length of every token of training-like rows: the first input is the pad id, as in training.

    Args:
        network: the model.
        params: its parameters.
        rows: int [n, length].
        predicted_from: ids below it count nothing.

    Returns:
        nats float32 [n, length], and whether the token was the most probable, bool [n, length]; 0 where nothing counts.
    """
    nats, right = np.zeros(rows.shape, np.float32), np.zeros(rows.shape, bool)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = rows[start : start + ROWS_AT_ONCE].astype(np.int32)
        padded = np.pad(block, ((0, ROWS_AT_ONCE - len(block)), (0, 0)), constant_values=PAD_ID)
        told = [np.asarray(part)[: len(block)] for part in _block_nats(network, params, padded)]
        counts = block >= predicted_from
        nats[start : start + len(block)], right[start : start + len(block)] = told[0] * counts, told[1] & counts
    return nats, right


@functools.partial(jax.jit, static_argnames="network")
def _block_nats(network: DecoderLM, params: Any, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits = jnp.asarray(network.apply({"params": params}, inputs_of(targets)))
    nats, log_z = cross_entropy(logits, targets)
    return nats, nats <= log_z - jnp.max(logits, axis=-1)
