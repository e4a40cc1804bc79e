"""Metrics that look at text: tokens of different codecs cannot be compared, bytes can."""

import math
from collections.abc import Sequence

import numpy as np


def exact_match(targets: Sequence[str | bytes], predictions: Sequence[str | bytes]) -> dict[str, float]:
    """The share of predictions that are the target, byte by byte."""
    pairs = _pairs(targets, predictions)
    return {"exact_match": sum(target == prediction for target, prediction in pairs) / max(1, len(pairs))}


def byte_accuracy(targets: Sequence[str | bytes], predictions: Sequence[str | bytes]) -> dict[str, float]:
    """The share of the targets' bytes that the predictions have at the same place; missing bytes are wrong.

    Returns:
        byte_accuracy; and common_prefix_bytes, the mean length up to the first difference.
    """
    right = total = prefix = 0
    pairs = _pairs(targets, predictions)
    for target, prediction in pairs:
        common = min(len(target), len(prediction))
        same = np.frombuffer(target, np.uint8, common) == np.frombuffer(prediction, np.uint8, common)
        right += int(same.sum())
        prefix += common if same.all() else int(same.argmin())
        total += len(target)
    return {"byte_accuracy": right / max(1, total), "common_prefix_bytes": prefix / max(1, len(pairs))}


def bits_per_byte(loss_nats: float, text_bytes: int) -> float:
    """A model's bits for each byte of text.

    Args:
        loss_nats: the sum (not the mean) of its losses over all tokens, ends of documents included.
        text_bytes: bytes of the text that these tokens stand for.

    Raises:
        ValueError: there is no text.
    """
    if text_bytes <= 0:
        raise ValueError(f"bits per byte of {text_bytes} bytes: give the bytes of the text, not its tokens")
    return loss_nats / math.log(2) / text_bytes


def _pairs(targets: Sequence[str | bytes], predictions: Sequence[str | bytes]) -> list[tuple[bytes, bytes]]:
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} targets but {len(predictions)} predictions")
    return [(_bytes(target), _bytes(prediction)) for target, prediction in zip(targets, predictions, strict=True)]


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)
