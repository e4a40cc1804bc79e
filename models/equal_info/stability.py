"""How far a small edit of the text reaches into its tokens (arXiv:2404.03626 section 6.1 asks this of prefixes)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Encode = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Stability:
    """Means over random one-byte insertions.

    Attributes:
        changed_tokens: tokens of the edited text that are not shared with the original's start or end.
        changed_bytes: the text that those tokens stand for.
        resynchronised: share of edits after which the rest of the text has the same tokens again.
    """

    changed_tokens: float
    changed_bytes: float
    resynchronised: float


def edit_stability(
    encode: Encode,
    decoded_size: Callable[[np.ndarray], int],
    texts: Sequence[bytes],
    *,
    edits: int = 300,
    seed: int = 0,
) -> Stability:
    """Inserts one letter at random places of texts and compares the tokens before and after.

    Args:
        encode: one document's tokens.
        decoded_size: how many bytes tokens stand for.
        texts: documents, each cut to its first 2,000 bytes; where all are short, they are joined.
        edits: how many to try.
        seed: of the places and letters.
    """
    generator = np.random.default_rng(seed)
    long_enough = [text[:2000] for text in texts if len(text) >= 200] or [b"\n".join(texts)[:2000]]
    if len(long_enough[0]) < 200:
        raise ValueError(f"edit stability needs a text of at least 200 bytes, got {len(long_enough[0])}")
    tokens, sizes, rejoined = [], [], []
    for _ in range(edits):
        text = long_enough[generator.integers(len(long_enough))]
        at = int(generator.integers(len(text) // 4, len(text) // 2))
        letter = bytes([generator.integers(ord("a"), ord("z") + 1)])
        before, after = encode(text), encode(text[:at] + letter + text[at:])
        start = _common(before, after)
        end = min(_common(before[::-1], after[::-1]), len(after) - start, len(before) - start)
        changed = after[start : len(after) - end]
        tokens.append(len(changed))
        sizes.append(decoded_size(changed))
        rejoined.append(end > 0)
    return Stability(float(np.mean(tokens)), float(np.mean(sizes)), float(np.mean(rejoined)))


def _common(one: np.ndarray, other: np.ndarray) -> int:
    size = min(len(one), len(other))
    different = np.flatnonzero(one[:size] != other[:size])
    return int(different[0]) if len(different) else size
