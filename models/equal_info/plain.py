"""Codecs whose codes stand for strings of their own, listed one by one; among them bytes as they are."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from models.equal_info.face import Bytes, TextCodec, documents
from models.equal_info.streams.artefact import identity, pack, unpack
from shammie.errors import UserError

BYTES = "bytes"


class StringCodec(TextCodec):
    """A codec with a string for each code.

    Attributes:
        scheme: the code's name.
        strings: the text of each code; empty where a code stands for none.
        notes: what the codec was trained on and how, plain JSON; no part of its identity.
    """

    MAGIC: ClassVar[bytes]
    KIND: ClassVar[str]
    window_bits = 0
    lossless = True

    def __init__(self, scheme: str, strings: Sequence[bytes], notes: dict[str, Any] | None = None) -> None:
        self.scheme, self.strings, self.notes = scheme, list(strings), notes or {}
        self._lengths = np.array([len(string) for string in strings], np.int64)

    @property
    def vocab_size(self) -> int:
        """V: codes run from 0 to V - 1."""
        return len(self.strings)

    def decode(self, codes: ArrayLike, *, first_position: int = 0) -> bytes:
        """The text of codes.

        Args:
            codes: integers [tokens], each below the vocabulary size.
            first_position: what errors call the place of the first code, where these are a part of more.

        Raises:
            ValueError: a code is too large, or stands for no text; it names the position.
        """
        return self._text(self._checked(codes, first_position))

    def decode_prefix(self, codes: ArrayLike) -> bytes:
        """What codes say that a model may have drawn: those that stand for no text are left out."""
        array = np.asarray(codes, np.int64).reshape(-1)
        return self._text(array[(array >= 0) & (array < self.vocab_size)])

    def decoded_size(self, codes: ArrayLike, *, first_position: int = 0) -> int:
        """How many bytes codes decode to; the same checks as `decode`, without the text."""
        return int(self._lengths[self._checked(codes, first_position)].sum())

    def _text(self, codes: np.ndarray) -> bytes:
        strings = self.strings
        return b"".join([strings[code] for code in codes.tolist()])

    def _checked(self, codes: ArrayLike, first_position: int) -> np.ndarray:
        array = np.asarray(codes)
        if array.size == 0:
            return np.zeros(0, np.int64)
        if array.ndim != 1 or array.dtype.kind not in "ui":
            raise ValueError(f"codes must be a row of integers, got shape {array.shape} of {array.dtype}")
        array = array.astype(np.int64)
        known = (array >= 0) & (array < self.vocab_size)
        silent = ~known
        silent[known] = self._lengths[array[known]] == 0
        if silent.any():
            at = int(np.flatnonzero(silent)[0])
            why = "stands for no text" if known[at] else f"is not below {self.vocab_size}"
            raise ValueError(f"code {array[at]} at position {first_position + at} {why} in this {self.scheme} codec")
        return array

    @cached_property
    def fingerprint(self) -> str:
        """sha256, in hex, of all that decides how text is coded: the artefact's content without its notes."""
        return identity({"scheme": self.scheme}, self._arrays())

    def to_bytes(self) -> bytes:
        """The artefact: versioned, checksummed, no pickle."""
        header = {"scheme": self.scheme, "fingerprint": self.fingerprint, "notes": self.notes}
        return pack(header, self._arrays(), self.MAGIC)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str = "codec") -> Self:
        """The codec of an artefact.

        Raises:
            shammie.errors.UserError: the bytes are no codec of this kind, of another version, or damaged.
        """
        header, arrays = unpack(data, name, cls.MAGIC, cls.KIND)
        try:
            codec = cls._of_parts(header, arrays)
        except UserError:
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{name} is not a valid {cls.KIND}: {error}", "make one anew") from error
        if codec.fingerprint != header.get("fingerprint"):
            raise UserError(f"{name} is not the codec that it says it is", "copy it again from where it was made")
        return codec

    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    @classmethod
    def _of_parts(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.scheme}, {self.vocab_size:,} tokens, {self.fingerprint[:12]})"


class BytesCodec(StringCodec):
    """Each byte is its own code, as ByT5 reads text: 256 codes, nothing to train."""

    MAGIC = b"\x89EQBYTE\n"
    KIND = "codec of bytes"

    def __init__(self, *, notes: dict[str, Any] | None = None) -> None:
        super().__init__(BYTES, [bytes([byte]) for byte in range(256)], notes)

    def encode_documents(
        self, buffer: Bytes, offsets: np.ndarray, *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of documents: see `TextCodec.encode_documents`; one thread is enough."""
        text, offsets = documents(buffer, offsets, threads)
        return text[offsets[0] : offsets[-1]].astype(np.uint16), offsets - offsets[0]

    def _text(self, codes: np.ndarray) -> bytes:
        return codes.astype(np.uint8).tobytes()

    @classmethod
    def _of_parts(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(notes=header.get("notes"))
