"""The text that grids of small models are trained on: Python's own help topics, in 32 symbols.

Real English on every machine and every worker, with nothing to read from a disk. Its digest is part of a cell's config,
so that a worker whose Python has other topics refuses instead of giving another result.
"""

import functools
import hashlib
import string

import numpy as np

from shammie.errors import UserError

SYMBOLS = 32
SPACE, NEWLINE, DIGIT, QUOTE, BRACKET, OTHER = range(26, SYMBOLS)


def symbols_of(text: str) -> np.ndarray:
    """Letters without case, space, newline, digit, quote, bracket, other; uint8 [characters], below SYMBOLS."""
    table = np.full(256, OTHER, np.uint8)
    for number, letter in enumerate(string.ascii_lowercase):
        table[[ord(letter), ord(letter.upper())]] = number
    classes = {" ": SPACE, "\n": NEWLINE, string.digits: DIGIT, "'\"`": QUOTE, "()[]{}<>": BRACKET}
    for characters, number in classes.items():
        table[[ord(one) for one in characters]] = number
    return table[np.frombuffer(text.encode("latin-1", "replace"), np.uint8)]


@functools.cache
def topic_symbols() -> np.ndarray:
    """All topics in the order of their names; uint8 [about 460,000]."""
    from pydoc_data import topics

    return symbols_of("\n\n".join(text for _, text in sorted(topics.topics.items())))


@functools.cache
def text_digest() -> str:
    """16 hex digits that name this text."""
    return hashlib.sha256(topic_symbols().tobytes()).hexdigest()[:16]


def check_text(digest: str) -> None:
    """Refuses a text other than this Python's.

    Raises:
        UserError: the digest is of another text.
    """
    if digest != text_digest():
        raise UserError(
            f"the grid is over text {digest}, and this Python's help topics are {text_digest()}",
            "run driver and workers under the same Python, or start a new grid",
        )


def windows(seed: int, steps: int, batch: int, length: int) -> np.ndarray:
    """Fresh windows of the text for every step; the same for all models of a seed.

    Args:
        seed: of the places.
        steps: T.
        batch: B, windows of a step.
        length: symbols of a window.

    Returns:
        uint8 [T, B, length].
    """
    text = topic_symbols()
    starts_TB = np.random.Generator(np.random.Philox(seed)).integers(0, len(text) - length, (steps, batch))
    return text[starts_TB[..., None] + np.arange(length)]
