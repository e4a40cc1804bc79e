"""What all codecs share: documents in a buffer, one text or many at a time, files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from shammie.files import read_bytes, write_bytes

Bytes = bytes | bytearray | memoryview | np.ndarray


class TextCodec(ABC):
    """Text to codes; each kind of codec says how documents are coded, and what its artefact is.

    Attributes:
        notes: what the codec was trained on and how, plain JSON; no part of its identity.
    """

    notes: dict[str, Any]

    @abstractmethod
    def encode_documents(
        self, buffer: Bytes, offsets: np.ndarray, *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The codes of documents that lie one behind another in a buffer; the fastest feeding.

        Args:
            buffer: the text of all documents.
            offsets: int64 [D + 1], document d is buffer[offsets[d] : offsets[d + 1]].
            threads: how many to use, at least 1.

        Returns:
            uint16 [tokens] of all documents, and int64 [D + 1], where each document's codes start.
        """

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The artefact: versioned, checksummed, no pickle."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes, *, name: str = "codec") -> Self:
        """The codec of an artefact; UserError where the bytes are none of this kind."""

    def encode(self, text: Bytes, *, threads: int = 1) -> np.ndarray:
        """The codes of one document.

        Args:
            text: any bytes.
            threads: how many to use where the document is long.

        Returns:
            uint16 [tokens].
        """
        data = as_array(text)
        return self.encode_documents(data, np.array([0, len(data)]), threads=threads)[0]

    def encode_batch(self, texts: Sequence[Bytes], *, threads: int = 1) -> list[np.ndarray]:
        """The codes of many documents, each from its own start: a list of uint16 arrays."""
        plain = [text if isinstance(text, bytes) else as_array(text).tobytes() for text in texts]
        offsets = np.zeros(len(plain) + 1, np.int64)
        np.cumsum([len(text) for text in plain], out=offsets[1:])
        codes, ends = self.encode_documents(b"".join(plain), offsets, threads=threads)
        return [codes[start:end] for start, end in pairwise(ends.tolist())]

    def save(self, path: str) -> None:
        """Writes the artefact, whole or not at all."""
        write_bytes(path, self.to_bytes())

    @classmethod
    def load(cls, path: str) -> Self:
        """Reads an artefact, local or on any fsspec file system."""
        return cls.from_bytes(read_bytes(path), name=str(path))


def as_array(text: Bytes) -> np.ndarray:
    """Text as uint8 [bytes]; TypeError where it is none."""
    if isinstance(text, str):
        raise TypeError("a codec reads bytes: call text.encode() first")
    array = text if isinstance(text, np.ndarray) else np.frombuffer(text, np.uint8)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise TypeError(f"text must be bytes or a uint8 row, got shape {array.shape} of {array.dtype}")
    return np.ascontiguousarray(array)


def documents(buffer: Bytes, offsets: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """The arguments of `encode_documents` as uint8 [bytes] and int64 [D + 1].

    Raises:
        ValueError: no threads, or offsets that are not those of documents.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    text, offsets = as_array(buffer), np.asarray(offsets, np.int64)
    if len(offsets) < 1 or offsets[0] < 0 or offsets[-1] > len(text) or np.any(np.diff(offsets) < 0):
        raise ValueError(f"document offsets must rise from 0 to at most {len(text)}, the size of the buffer")
    return text, offsets
