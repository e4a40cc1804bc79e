"""What readers hand to jobs: many documents in one buffer, and the records that could not be read."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Documents(NamedTuple):
    """Documents that lie one behind another, in the order of their source.

    A document longer than a reader's limit comes as numbered pieces, one after another.

    Attributes:
        text: uint8 [bytes].
        bounds: int64 [D + 1], document d is text[bounds[d] : bounds[d + 1]].
        sources: int32 [D], each one's place in the plan's list of sources.
        offsets: int64 [D], where it begins in its source: a byte (text, JSONL, TFRecord) or a row (Parquet).
        pieces: int64 [D], 0, or k for the k-th continuation.
        last: bool [D], whether the document ends here.
    """

    text: np.ndarray
    bounds: np.ndarray
    sources: np.ndarray
    offsets: np.ndarray
    pieces: np.ndarray
    last: np.ndarray


UNREADABLE = "cannot be read"  # begins the reason of a source that the file system did not give: it may next time


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be used, or, where `whole_source`, the rest of a source from an offset on."""

    source: str
    offset: int
    reason: str
    detail: str = ""
    whole_source: bool = False


def whole_documents(text: np.ndarray, bounds: np.ndarray, *, source: int, offsets: np.ndarray) -> Documents:
    """Documents of one source, none in pieces."""
    count = len(offsets)
    return Documents(
        text,
        bounds,
        np.full(count, source, np.int32),
        np.asarray(offsets, np.int64),
        np.zeros(count, np.int64),
        np.ones(count, bool),
    )


def documents_of(texts: list[bytes], *, source: int, offsets: list[int]) -> Documents:
    """Documents of one source from a list of their texts."""
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=bounds[1:])
    return whole_documents(
        np.frombuffer(b"".join(texts), np.uint8), bounds, source=source, offsets=np.array(offsets, np.int64)
    )


def split_long(documents: Documents, limit: int) -> Documents:
    """Cuts documents that are over a limit in bytes into numbered pieces; the others stay as they are."""
    sizes = np.diff(documents.bounds)
    if len(sizes) == 0 or sizes.max() <= limit:
        return documents
    counts = np.maximum(1, -(-sizes // limit))
    owner = np.repeat(np.arange(len(sizes)), counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    number = np.arange(first[-1]) - first[owner]
    starts = documents.bounds[owner] + number * limit
    return Documents(
        documents.text,
        np.append(starts, documents.bounds[-1]),
        documents.sources[owner],
        documents.offsets[owner],
        documents.pieces[owner] + number,
        documents.last[owner] & (number == counts[owner] - 1),
    )


def without_empty(documents: Documents) -> tuple[Documents, int]:
    """Leaves out documents without a byte (never the last piece of one that has some); returns how many they were."""
    keep = (np.diff(documents.bounds) > 0) | (documents.pieces > 0)
    dropped = len(keep) - int(keep.sum())
    if not dropped:
        return documents, 0
    bounds = np.append(documents.bounds[:-1][keep], documents.bounds[-1])
    return (
        Documents(
            documents.text,
            bounds,
            documents.sources[keep],
            documents.offsets[keep],
            documents.pieces[keep],
            documents.last[keep],
        ),
        dropped,
    )
