"""The paper's layout of training data (arXiv:2404.03626 sections 3.1 and 3.3): examples of a fixed size, cut to length.

Documents are joined, each with an end byte behind it, and cut into examples of one size; each example is encoded on
its own, and its first `length` tokens are a row. So all methods see the same beginnings of examples and as many tokens,
but not as much text. What differs from the paper: all documents of a split are joined, not 128 at a time; a cut never
parts a UTF-8 character, so an example may be up to 3 bytes short; the end is a byte of the text, one for all methods.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from workflows.tokenizers import Tokenizer

END_OF_TEXT = b"\x03"  # ASCII's own "end of text": one byte, UTF-8, and in no text that we know
ENCODED_AT_ONCE = 1024
T = TypeVar("T")


def joined(texts: Iterable[bytes]) -> bytes:
    """Documents with their ends, as one text."""
    return b"".join(text + END_OF_TEXT for text in texts)


def examples_of(texts: Iterable[bytes], example_bytes: int, *, cuts: int = 1) -> Iterator[bytes]:
    """Joined documents cut into examples; the shorter rest at the end is left out.

    Args:
        texts: documents, UTF-8.
        example_bytes: the size of an example; up to 3 bytes less where a character would be cut.
        cuts: how often the text is cut; cut k begins k / cuts of an example later, so that its examples begin at
            other places. `texts` is gone through as often.
    """
    for cut in range(cuts):
        rest = bytearray()
        skip = example_bytes * cut // cuts
        for text in texts:
            rest += text + END_OF_TEXT
            if skip:
                skipped = _border(rest, min(skip, len(rest)))
                del rest[:skipped]
                skip = 0 if len(rest) else skip - skipped
            at = 0
            while len(rest) - at > example_bytes:  # one byte more, to see whether a character ends here
                end = at + _border(rest[at : at + example_bytes + 1], example_bytes)
                yield bytes(rest[at:end])
                at = end
            del rest[:at]
        if len(rest) == example_bytes:
            yield bytes(rest)


def _border(text: bytearray, size: int) -> int:
    """The last place up to a size that does not cut a UTF-8 character."""
    at = size
    while 0 < at < len(text) and text[at] & 0xC0 == 0x80:
        at -= 1
    return at or size


@dataclass
class Tally:
    """What was seen of a split's examples.

    Attributes:
        vocab_size: V, ids of the method, the special ones included.
        examples: all.
        rows: those with at least `length` tokens, which became rows.
        text_bytes: of all examples, whole.
        tokens: of all examples, whole.
        counts: how often each id occurs in whole examples, int64 [V].
    """

    vocab_size: int
    examples: int = 0
    rows: int = 0
    text_bytes: int = 0
    tokens: int = 0
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.vocab_size, np.int64)

    @property
    def bytes_per_token(self) -> float:
        """The compression ratio over whole examples, as the paper has it."""
        return self.text_bytes / self.tokens


def rows_of(
    tokenizer: Tokenizer, examples: Iterable[bytes], length: int, tally: Tally
) -> Iterator[tuple[np.ndarray, bytes]]:
    """The first `length` ids of each example that has as many, int32 [length], with the example.

    The tally grows on the way, by whole examples.
    """
    for batch in batched(examples, ENCODED_AT_ONCE):
        for example, ids in zip(batch, tokenizer.bodies(batch), strict=True):
            tally.examples += 1
            tally.text_bytes += len(example)
            tally.tokens += len(ids)
            tally.counts += np.bincount(ids, minlength=tally.vocab_size)
            if len(ids) >= length:
                tally.rows += 1
                yield ids[:length], example


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most so many items, evenly spaced over all of them: neighbours are often pieces of one document."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def batched(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Lists of up to `size` items."""
    batch: list[bytes] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def first_bytes(tokenizer: Tokenizer, rows: Sequence[tuple[np.ndarray, bytes]]) -> int | None:
    """How many bytes rows stand for, where the method can tell.

    What a row's ids decode to must begin its example; the paper's own windows lose text, and cannot tell. A row that
    ends within a stream's byte or window stands for the bytes before it, so a code length over these is a little high.

    Args:
        tokenizer: the method.
        rows: the first ids of examples, with the examples.

    Returns:
        Bytes of all rows together, or None.
    """
    total = 0
    for row, example in rows:
        decoded = tokenizer.decode(row)
        if not example.startswith(decoded):
            return None
        total += len(decoded)
    return total or None
