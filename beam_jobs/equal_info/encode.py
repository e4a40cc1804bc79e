"""Documents to examples: the part of the job that knows the codec."""

from typing import NamedTuple

import numpy as np

from beam_jobs.examples import Sequences, write_examples
from beam_jobs.ordering import order_of, places
from beam_jobs.records import Documents, documents_of
from models.equal_info.ids import END_OF_DOCUMENT_ID, SPECIAL_IDS
from shammie.jit import compiled

COUNTED = ("documents", "text_bytes", "examples", "targets_tokens", "end_ids", "continuations")


class Encoded(NamedTuple):
    """Examples as TFRecord frames in the order of their hashes, and what was counted."""

    hashes: np.ndarray
    bounds: np.ndarray
    data: np.ndarray
    stats: dict[str, int]


class Layout(NamedTuple):
    """How text is cut: pieces that are encoded from their own start, and examples as rows of pieces.

    Attributes:
        text_bounds: int64 [P + 1], piece p is text[text_bounds[p] : text_bounds[p + 1]].
        closes: bool [P], whether a document ends with the piece.
        example_bounds: int64 [E + 1], in pieces.
        sources: int32 [E], the source of the document that gives each example its place.
        offsets: int64 [E], that document's offset.
        numbers: int64 [E], tells examples that have their place from one document apart.
        continuations: int64 [E].
    """

    text_bounds: np.ndarray
    closes: np.ndarray
    example_bounds: np.ndarray
    sources: np.ndarray
    offsets: np.ndarray
    numbers: np.ndarray
    continuations: np.ndarray


def whole(documents: Documents) -> Layout:
    """One example per document (or per piece of a long one; its pieces share a place, so they stay together)."""
    count = len(documents.offsets)
    return Layout(
        documents.bounds,
        documents.last,
        np.arange(count + 1),
        documents.sources,
        documents.offsets,
        np.zeros(count, np.int64),
        documents.pieces,
    )


@compiled
def _cut_groups(
    bounds, last, group, size, position, number, over, text_bounds, closes, example_bounds, owners, numbers
):  # fmt: skip
    pieces, examples, room = 0, 0, 0
    owner = -1  # the row of the open group's first document; -1 for one of an earlier batch
    open_row, open_at, open_position = 0, bounds[0], position
    for d in range(len(last)):
        if position == group:
            position, number, room = 0, 0, 0
        if position == 0:
            owner = d
        at, end = bounds[d], bounds[d + 1]
        while True:
            if room == 0:
                example_bounds[examples], owners[examples], numbers[examples] = pieces, owner, number
                open_row, open_at, open_position = d, at, position
                examples += 1
                number += 1
                room = size
            step = min(end - at, room)
            text_bounds[pieces] = at
            at += step
            room -= step
            # the end of the document takes a byte of its own, in the next example if this one is full
            close = at == end and last[d] and room > 0
            closes[pieces] = close
            pieces += 1
            if close:
                room -= 1
            if at == end and (close or not last[d]):
                break
        position += 1
    rest_row, rest_at = len(last), bounds[len(last)]
    if position == group:
        position, number, owner = 0, 0, -1
    elif room > 0 and not over:  # the last example may take more of the next batch
        examples -= 1
        number -= 1
        pieces = example_bounds[examples]
        rest_row, rest_at, position = open_row, open_at, open_position
    text_bounds[pieces] = rest_at
    example_bounds[examples] = pieces
    return pieces, examples, position, number, owner, rest_row, rest_at


class FixedSize:
    """The paper's examples: groups of documents joined and cut every so many bytes, over the batches of a unit.

    The end of a document counts one byte. What an example holds of a document is encoded from its own start. A group
    that a batch leaves open goes on in the next one: between them no more is kept than the text of its last example.

    Args:
        group: how many consecutive documents are joined; each piece of a document over the size limit counts as one.
        example_bytes: the size.
    """

    def __init__(self, *, group: int, example_bytes: int) -> None:
        self._group, self._size = group, example_bytes
        # where the kept text begins: its first document's place in the group and its example's number
        self._position = self._number = 0
        self._owner = (0, 0)  # source and offset of the group's first document
        self._rest = documents_of([], source=0, offsets=[])

    def cut(self, documents: Documents | None) -> tuple[Documents, Layout]:
        """Cuts a batch.

        Args:
            documents: the batch, or None at the end of the unit.

        Returns:
            What was kept of earlier batches with this one behind it, and the layout of the examples that are full.
        """
        over = documents is None
        documents = self._rest if documents is None else _joined(self._rest, documents)
        count = len(documents.offsets)
        bytes_in = int(documents.bounds[-1] - documents.bounds[0])
        most = count + (bytes_in + count) // self._size + 2 * (count // self._group + 2) + count
        text_bounds, closes = np.empty(most + 1, np.int64), np.empty(most, bool)
        example_bounds, owners, numbers = (
            np.empty(most + 1, np.int64),
            np.empty(most, np.int64),
            np.empty(most, np.int64),
        )
        pieces, examples, self._position, self._number, owner, row, at = _cut_groups(
            documents.bounds, documents.last, self._group, self._size, self._position, self._number, over,
            text_bounds, closes, example_bounds, owners, numbers,
        )  # fmt: skip
        owners = owners[:examples]
        sources, offsets = np.full(examples, self._owner[0], np.int32), np.full(examples, self._owner[1], np.int64)
        here = owners >= 0
        sources[here], offsets[here] = documents.sources[owners[here]], documents.offsets[owners[here]]
        if owner >= 0:
            self._owner = int(documents.sources[owner]), int(documents.offsets[owner])
        self._rest = _from(documents, row, at)
        layout = Layout(
            text_bounds[: pieces + 1],
            closes[:pieces],
            example_bounds[: examples + 1],
            sources,
            offsets,
            numbers[:examples],
            np.zeros(examples, np.int64),
        )
        return documents, layout


def _joined(first: Documents, second: Documents) -> Documents:
    if not len(first.offsets):
        return second
    start, stop = second.bounds[0], second.bounds[-1]
    return Documents(
        np.concatenate([first.text, second.text[start:stop]]),
        np.concatenate([first.bounds[:-1], second.bounds + (len(first.text) - start)]),
        *(np.concatenate(pair) for pair in list(zip(first, second, strict=True))[2:]),
    )


def _from(documents: Documents, row: int, at: int) -> Documents:
    """A copy of the documents from a byte of a row on, that one's first bytes left out."""
    bounds = np.append(at, documents.bounds[row + 1 :]) if row < len(documents.offsets) else np.array([at])
    text = documents.text[at : bounds[-1]].copy()
    return Documents(text, bounds - at, *(column[row:].copy() for column in documents[2:]))


def serialise(layout: Layout, codes: np.ndarray, code_bounds: np.ndarray, *, seed: int, keys: np.ndarray) -> Encoded:
    """Turns a batch of encoded documents into ordered records.

    Args:
        layout: how it becomes examples.
        codes: uint16 [tokens], of all pieces of the layout.
        code_bounds: int64 [P + 1], where each piece's codes begin.
        seed: of the shuffle.
        keys: uint64 [sources], `ordering.source_key` of each source.
    """
    hashes = places(seed, keys[layout.sources], layout.offsets, layout.numbers)
    order = order_of(hashes)
    sequences = Sequences(codes, code_bounds, layout.closes, layout.example_bounds, layout.continuations)
    data, bounds, tokens = write_examples(sequences, order, special=SPECIAL_IDS, end_id=END_OF_DOCUMENT_ID)
    stats = {
        "documents": int(layout.closes.sum()),
        "text_bytes": int(layout.text_bounds[-1] - layout.text_bounds[0]),
        "examples": len(order),
        "targets_tokens": int(tokens.sum()),
        "targets_max_tokens": int(tokens.max(initial=0)),
        "end_ids": int(layout.closes.sum()),
        "continuations": int((layout.continuations > 0).sum()),
    }
    return Encoded(hashes[order], bounds, data, stats)
