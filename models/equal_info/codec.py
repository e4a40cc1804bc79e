"""`Codec`: a compiled code, ready for text. No network, no floats: the same bytes on every machine.

    codec = Codec.default()
    codes = codec.encode(b"some text")      # uint16 array
    assert codec.decode(codes) == b"some text"

A codec speaks codes; language models read model ids, which are codes + 2 (`models.equal_info.ids`).
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from models.equal_info import kernels
from models.equal_info.artefact import pack, unpack
from models.equal_info.automaton import compile_dictionary
from models.equal_info.dictionary import Dictionary
from models.equal_info.face import Bytes, TextCodec, documents
from shammie.errors import UserError
from shammie.files import canonical_json

PIECE_BYTES = 1 << 15
_SPARE_BYTES = kernels.COPY_BYTES


class Codec(TextCodec):
    """Text to codes and back, exactly.

    Attributes:
        scheme: the code's name: "pruned", "full", "delay" or "greedy" (the last one loses text; see `lossless`).
        window_bits: the window of the scheme; sets M1's precision in `full` and `pruned`.
        dictionary: the token strings.
        notes: what the codec was trained on and how, plain JSON; no part of its identity.
    """

    def __init__(
        self, dictionary: Dictionary, *, scheme: str, window_bits: int = 16, notes: dict[str, Any] | None = None
    ) -> None:
        if dictionary.vocab_size > 1 << 16:
            raise ValueError(f"codes are 16 bits: a vocabulary of {dictionary.vocab_size} is over 65,536")
        if dictionary.trie.depth[-1] > kernels.LENGTH_MASK:
            raise ValueError(f"a token of {dictionary.trie.depth[-1]} bytes is over {kernels.LENGTH_MASK}")
        self.dictionary, self.scheme, self.window_bits = dictionary, scheme, window_bits
        self.notes = notes or {}
        self._automaton = compile_dictionary(dictionary)
        depth = dictionary.trie.depth
        self._lengths = np.zeros(1 << 16, np.int64)  # of any code that a kernel may look up
        self._lengths[: self.vocab_size] = np.where(dictionary.node_of_code >= 0, depth[dictionary.node_of_code], 0)

    @property
    def vocab_size(self) -> int:
        """V: codes run from 0 to V - 1."""
        return self.dictionary.vocab_size

    @cached_property
    def lossless(self) -> bool:
        """Whether every text comes back: whether each token is what its code decodes to."""
        tokens = np.flatnonzero(self.dictionary.code >= 0)
        return bool(np.array_equal(self.dictionary.node_of_code[self.dictionary.code[tokens]], tokens))

    @cached_property
    def fingerprint(self) -> str:
        """sha256, in hex, of all that decides how text is coded."""
        found = hashlib.sha256(canonical_json([self.scheme, self.window_bits, self.vocab_size]).encode())
        for array in (self.dictionary.trie.parent, self.dictionary.code, self.dictionary.node_of_code):
            found.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
        found.update(self.dictionary.trie.label.tobytes())
        return found.hexdigest()

    def encode_documents(
        self, buffer: Bytes, offsets: np.ndarray, *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `TextCodec.encode_documents`; pieces of long ones side by side."""
        text, offsets = documents(buffer, offsets, threads)
        # a lossy code's codes do not tell where its tokens end, so its documents cannot be joined from pieces
        starts, ends, first_pieces = _cut(offsets, PIECE_BYTES if self.lossless else len(text) + 1)
        # as many codes as bytes is the worst case; memory that is not written to costs nothing
        codes = np.empty(len(text), np.uint16)
        counts, states = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
        units, emits = self._automaton.units, self._automaton.emits

        def encode_part(part: slice) -> None:
            kernels.encode_pieces(units, emits, text, starts[part], ends[part], codes, counts[part], states[part])

        def join_part(part: slice) -> tuple[np.ndarray, np.ndarray]:
            first = first_pieces[part.start : part.stop + 1]
            size = int(offsets[part.stop] - offsets[part.start])
            joined, joined_ends = np.empty(size, np.uint16), np.zeros(part.stop - part.start, np.int64)
            kernels.join_pieces(
                units,
                emits,
                text,
                starts,
                ends,
                codes,
                counts,
                states,
                self._lengths,
                first,
                joined,
                joined_ends,
            )
            return joined[: joined_ends[-1] if len(joined_ends) else 0], joined_ends

        count = len(offsets) - 1
        if threads == 1 or len(starts) < 2:  # starting threads takes longer than a short text
            encode_part(slice(0, len(starts)))
            joined = [join_part(slice(0, count))]
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(encode_part, _shares(ends, threads)))
                joined = list(pool.map(join_part, _shares(offsets[1:], threads)))
        code_offsets = np.zeros(count + 1, np.int64)
        np.cumsum(np.concatenate([np.diff(part_ends, prepend=0) for _, part_ends in joined]), out=code_offsets[1:])
        parts = [part for part, _ in joined]
        return parts[0] if len(parts) == 1 else np.concatenate(parts), code_offsets

    def decode(self, codes: ArrayLike, *, first_position: int = 0) -> bytes:
        """The text of codes.

        Args:
            codes: integers [tokens], each below the vocabulary size.
            first_position: what errors call the place of the first code, where these are a part of more.

        Raises:
            ValueError: a code is too large, or stands for no text (`delay` and `greedy` do not use all); it names
                the position.
        """
        array = _as_codes(codes)
        size = self.decoded_size(array, first_position=first_position)
        text = np.empty(size + _SPARE_BYTES, np.uint8)
        strings, blob = self._strings
        kernels.decode(array, strings, blob, text)
        return text[:size].tobytes()

    def decode_prefix(self, codes: ArrayLike) -> bytes:
        """What codes say that a model may have drawn: those that stand for no text are left out."""
        array = np.asarray(codes, np.int64).reshape(-1)
        array = array[(array >= 0) & (array < self.vocab_size)]
        return self.decode(array[self.dictionary.node_of_code[array] >= 0])

    def decoded_size(self, codes: ArrayLike, *, first_position: int = 0) -> int:
        """How many bytes codes decode to; the same checks as `decode`, without the text."""
        array = _as_codes(codes)
        size = kernels.decoded_size(array, self._strings[0])
        if size < 0:
            position = -1 - size
            code = int(array[position])
            why = "stands for no text" if 0 <= code < self.vocab_size else f"is not below {self.vocab_size}"
            place = first_position + position
            raise ValueError(f"code {code} at position {place} {why} in this {self.scheme} codec")
        return size

    @cached_property
    def _strings(self) -> tuple[np.ndarray, np.ndarray]:
        """The strings of all codes for `kernels.decode`: places and lengths, and the bytes."""
        strings = [string or b"" for string in self.dictionary.code_strings()]
        lengths = self._lengths[: self.vocab_size]
        starts = np.cumsum(lengths) - lengths
        packed = (starts << kernels.LENGTH_BITS | lengths).astype(np.uint32)
        return packed, np.frombuffer(b"".join(strings) + bytes(_SPARE_BYTES), np.uint8)

    def to_bytes(self) -> bytes:
        """The artefact: versioned, checksummed, no pickle."""
        header = {"scheme": self.scheme, "window_bits": self.window_bits, "notes": self.notes}
        return pack(self.dictionary, header, self.fingerprint)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str = "codec") -> "Codec":
        """The codec of an artefact.

        Raises:
            shammie.errors.UserError: the bytes are no codec, of another version, or damaged; names what and the cure.
        """
        dictionary, header = unpack(data, name)
        try:
            scheme, window_bits, notes = header["scheme"], header["window_bits"], header.get("notes")
            if not isinstance(scheme, str) or not isinstance(window_bits, int) or not isinstance(notes, dict | None):
                raise ValueError("its scheme, its window or what it notes is of a wrong kind")
            codec = cls(dictionary, scheme=scheme, window_bits=window_bits, notes=notes)
            same = codec.fingerprint == header.get("fingerprint")
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{name} is not a valid codec: {error}", "train one with `shammie run equal_info`"
            ) from error
        if not same:
            raise UserError(f"{name} is not the codec that it says it is", "copy it again from where it was made")
        return codec

    @classmethod
    def load(cls, path: str) -> "Codec":
        """Reads an artefact, local or on any fsspec file system; "default" is the shipped one."""
        return cls.default() if path == "default" else super().load(path)

    @classmethod
    def default(cls) -> "Codec":
        """The codec that ships with the package; `notes` says what it was trained on."""
        return _default()

    def __repr__(self) -> str:
        return f"Codec({self.scheme}, {self.vocab_size:,} tokens, {self.fingerprint[:12]})"


@cache
def _default() -> Codec:
    return Codec.from_bytes(resources.files("models.equal_info").joinpath("default.codec").read_bytes())


def _as_codes(codes: ArrayLike) -> np.ndarray:
    array = np.asarray(codes)
    if array.size == 0:
        return np.zeros(0, np.uint16)
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise ValueError(f"codes must be a row of integers, got shape {array.shape} of {array.dtype}")
    return array if array.dtype == np.uint16 else array.astype(np.int64)


def _cut(offsets: np.ndarray, piece_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts documents into pieces: starts [P], ends [P] and each document's first piece [D + 1]."""
    sizes = np.diff(offsets)
    pieces = -(-sizes // piece_bytes)
    first = np.zeros(len(offsets), np.int64)
    np.cumsum(pieces, out=first[1:])
    document = np.repeat(np.arange(len(sizes)), pieces)
    starts = offsets[document] + (np.arange(first[-1]) - first[document]) * piece_bytes
    return starts, np.minimum(starts + piece_bytes, offsets[document + 1]), first


def _shares(ends: np.ndarray, threads: int) -> list[slice]:
    """Cuts items with rising ends into runs of about equal bytes, one for each thread."""
    wanted = np.linspace(0, ends[-1], threads + 1)[1:-1]
    borders = [0, *np.searchsorted(ends, wanted).tolist(), len(ends)]
    return [slice(start, stop) for start, stop in pairwise(borders) if stop > start]
