"""Documents to examples: the part of the job that knows the codec."""

from typing import NamedTuple

import numpy as np

from beam_jobs.examples import Sequences, write_examples
from beam_jobs.ordering import order_of, places
from beam_jobs.records import Documents
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
        owners: int64 [E], the document that gives each example its place.
        numbers: int64 [E], tells examples with one owner apart.
        continuations: int64 [E].
    """

    text_bounds: np.ndarray
    closes: np.ndarray
    example_bounds: np.ndarray
    owners: np.ndarray
    numbers: np.ndarray
    continuations: np.ndarray


def whole(documents: Documents) -> Layout:
    """One example per document (or per piece of a long one; its pieces share a place, so they stay together)."""
    count = len(documents.offsets)
    return Layout(
        documents.bounds,
        documents.last,
        np.arange(count + 1),
        np.arange(count),
        np.zeros(count, np.int64),
        documents.pieces,
    )


@compiled
def _cut_groups(bounds, last, group, size, text_bounds, closes, example_bounds, owners, numbers):
    pieces, examples, documents = 0, 0, len(last)
    for first in range(0, documents, group):
        room, number = 0, 0
        for d in range(first, min(first + group, documents)):
            at, end = bounds[d], bounds[d + 1]
            while True:
                if room == 0:
                    example_bounds[examples], owners[examples], numbers[examples] = pieces, first, number
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
    text_bounds[pieces] = bounds[documents]
    example_bounds[examples] = pieces
    return pieces, examples


def fixed_size(documents: Documents, *, group: int, example_bytes: int) -> Layout:
    """The paper's examples: groups of documents joined and cut every so many bytes.

    The end of a document counts one byte. What an example holds of a document is encoded from its own start.
    """
    bytes_in = int(documents.bounds[-1] - documents.bounds[0])
    count = len(documents.offsets)
    most = count + (bytes_in + count) // example_bytes + 2 * (count // group + 2) + count
    text_bounds, closes = np.empty(most + 1, np.int64), np.empty(most, bool)
    example_bounds, owners, numbers = np.empty(most + 1, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    pieces, examples = _cut_groups(
        documents.bounds, documents.last, group, example_bytes, text_bounds, closes, example_bounds, owners, numbers
    )
    return Layout(
        text_bounds[: pieces + 1],
        closes[:pieces],
        example_bounds[: examples + 1],
        owners[:examples],
        numbers[:examples],
        np.zeros(examples, np.int64),
    )


def serialise(
    documents: Documents, layout: Layout, codes: np.ndarray, code_bounds: np.ndarray, *, seed: int, keys: np.ndarray
) -> Encoded:
    """Turns a batch of encoded documents into ordered records.

    Args:
        documents: the batch.
        layout: how it becomes examples.
        codes: uint16 [tokens], of all pieces of the layout.
        code_bounds: int64 [P + 1], where each piece's codes begin.
        seed: of the shuffle.
        keys: uint64 [sources], `ordering.source_key` of each source.
    """
    owners = layout.owners
    hashes = places(seed, keys[documents.sources[owners]], documents.offsets[owners], layout.numbers)
    order = order_of(hashes)
    sequences = Sequences(codes, code_bounds, layout.closes, layout.example_bounds, layout.continuations)
    data, bounds, tokens = write_examples(sequences, order, special=SPECIAL_IDS, end_id=END_OF_DOCUMENT_ID)
    stats = {
        "documents": int(documents.last.sum()),
        "text_bytes": int(documents.bounds[-1] - documents.bounds[0]),
        "examples": len(order),
        "targets_tokens": int(tokens.sum()),
        "targets_max_tokens": int(tokens.max(initial=0)),
        "end_ids": int(layout.closes.sum()),
        "continuations": int((layout.continuations > 0).sum()),
    }
    return Encoded(hashes[order], bounds, data, stats)
