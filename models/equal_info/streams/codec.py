"""`StreamCodec`: a stream as a codec, with the face of `models.equal_info.codec.Codec`.

    codec = stream_codec(spec_of_stream("windows:24/8"), m1=m1)
    codes = codec.encode(b"some text")      # uint16 array
    assert codec.decode(codes) == b"some text"

Its tokens are 8 or 16 bits of compressed text each. There is no dictionary: what a token says depends on those before.
"""

from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from models.equal_info.face import Bytes, TextCodec, documents
from models.equal_info.streams import pieces, texts, zlib_pieces
from models.equal_info.streams.artefact import identity, pack, unpack
from models.equal_info.streams.fixed_point import Fixed, FixedM1
from models.equal_info.streams.interval import PRECISION_BITS
from models.equal_info.streams.models import FloatM1, Model, Unigram
from models.equal_info.streams.spec import WINDOWED, StreamSpec, spec_of_stream
from models.equal_info.streams.tokens import (
    bytes_of_codes,
    bytes_of_windows,
    codes_of_bytes,
    windows_of_bytes,
)
from models.equal_info.streams.windows import Rule
from shammie.errors import UserError

Predictor = FixedM1 | FloatM1 | Unigram | None


class StreamCodec(TextCodec):
    """Text to tokens of a compressed stream and back.

    Attributes:
        spec: which stream.
        predictor: its byte model; None for gzip.
        notes: what the codec was trained on and how, plain JSON; no part of its identity.
    """

    def __init__(self, spec: StreamSpec, predictor: Predictor = None, *, notes: dict[str, Any] | None = None) -> None:
        wanted = {"gzip": (type(None),), "static_ac": (Unigram,)}.get(spec.scheme, (FixedM1, FloatM1))
        if not isinstance(predictor, wanted):
            raise ValueError(f"{spec.scheme} cannot work with a {type(predictor).__name__}")
        self.spec, self.predictor, self.notes = spec, predictor, notes or {}

    @property
    def scheme(self) -> str:
        """The compressor's name."""
        return self.spec.scheme

    @property
    def vocab_size(self) -> int:
        """256 or 65,536: codes run from 0 to this, less one."""
        return self.spec.vocab_size

    @property
    def window_bits(self) -> int:
        """W; 0 where there are no windows."""
        return self.spec.window_bits

    @property
    def lossless(self) -> bool:
        """Whether every text comes back; false for the paper's own rule."""
        return self.spec.lossless

    @cached_property
    def fingerprint(self) -> str:
        """sha256, in hex, of all that decides how text is coded: the artefact's content without its notes."""
        return identity(self._header(), self._arrays())

    @property
    def _token_bytes(self) -> int:
        return self.spec.token_bits // 8

    @cached_property
    def _model(self) -> Model:
        assert self.predictor is not None
        precision = min(PRECISION_BITS, self.window_bits or PRECISION_BITS)
        return Model(self.predictor, precision)

    @property
    def _rule(self) -> Rule:
        spec, never = self.spec, self.spec.reset_windows == 0
        return Rule(
            spec.window_bits,
            self._model.precision,
            spec.reset_windows,
            spec.piece_bytes if never else 0,
            not spec.lossless,
        )

    def encode_documents(
        self, buffer: Bytes, offsets: np.ndarray, *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `TextCodec.encode_documents`; M1 reads many in lockstep."""
        text, offsets = documents(buffer, offsets, threads)
        if self.scheme in WINDOWED:
            rows = self._encode_windows(text, offsets, threads)
        elif self.scheme == "gzip":
            plain, size = text.tobytes(), self.spec.piece_bytes
            streams = [zlib_pieces.compressed(plain[a:b], size, self._token_bytes) for a, b in pairwise(offsets)]
            rows = [np.frombuffer(stream, np.uint8) for stream in streams]
        else:
            rows = self._encode_pieces(text, offsets, threads)
        codes = [codes_of_bytes(row, self.spec.token_bits) for row in rows]
        bounds = np.zeros(len(offsets), np.int64)
        np.cumsum([len(row) for row in codes], out=bounds[1:])
        return np.concatenate([np.zeros(0, np.uint16), *codes]), bounds

    def _encode_windows(self, text: np.ndarray, offsets: np.ndarray, threads: int) -> list[np.ndarray]:
        codes, _, bounds = texts.encode_texts(self._model, self._rule, text, offsets, threads=threads)
        return [bytes_of_windows(codes[a:b], self.window_bits) for a, b in pairwise(bounds)]

    def _encode_pieces(self, text: np.ndarray, offsets: np.ndarray, threads: int) -> list[np.ndarray]:
        size = self.spec.piece_bytes
        cuts = [np.arange(start, end, size) for start, end in pairwise(offsets)]
        starts = np.concatenate([np.zeros(0, np.int64), *cuts])
        ends = np.concatenate([np.zeros(0, np.int64), *(np.append(cut, end)[1:] for cut, end in
                                                        zip(cuts, offsets[1:], strict=True))])  # fmt: skip
        coded = pieces.encode_pieces(self._model, text, starts, ends, token_bytes=self._token_bytes, threads=threads)
        rows, at = [], 0
        for cut, length in zip(cuts, np.diff(offsets).tolist(), strict=True):
            if length >= 1 << 8 * pieces.TRAILER_BYTES:
                raise UserError(f"a text of {length:,} bytes is over 4 GiB", "cut it into smaller documents")
            trailer = np.frombuffer(length.to_bytes(pieces.TRAILER_BYTES, "big"), np.uint8) if length else text[:0]
            rows.append(np.concatenate([*coded[at : at + len(cut)], trailer]))
            at += len(cut)
        return rows

    def decode(self, codes: ArrayLike) -> bytes:
        """The exact text of one whole text's codes.

        Raises:
            ValueError: the codes are not all of a text's, or those of none.
        """
        data = bytes_of_codes(codes, self.spec.token_bits)
        if self.scheme == "gzip":
            return zlib_pieces.decompressed(data, self.spec.piece_bytes, self._token_bytes)
        if self.scheme not in WINDOWED:
            return pieces.decode_text(self._model, data, self.spec.piece_bytes, self._token_bytes)
        found, rest = windows_of_bytes(data, self.window_bits)
        if len(rest) >= self.spec.token_bits or rest.any():
            raise ValueError("the codes are cut inside a window, or damaged")
        text, strange = texts.decode_text(self._model, self._rule, found)
        if strange and self.lossless:
            raise ValueError(f"{strange} of {len(found)} windows stand for no text in this {self.scheme} codec")
        return text

    def decode_prefix(self, codes: ArrayLike) -> bytes:
        """What codes say that were cut anywhere, or drawn by a model; a whole text's codes give it exactly.

        Codes that are none are left out. Of windows the whole ones are read, and one that no text has gives the
        longest text that fits; of other streams what their bits decide.
        """
        array = np.asarray(codes, np.int64).reshape(-1)
        array = array[(array >= 0) & (array < self.vocab_size)]
        data = bytes_of_codes(array, self.spec.token_bits)
        if self.scheme in WINDOWED:
            return texts.decode_text(self._model, self._rule, windows_of_bytes(data, self.window_bits)[0])[0]
        try:
            return self.decode(array)
        except ValueError:
            reader = zlib_pieces.decompressed_prefix
            if self.scheme == "gzip":
                return reader(data, self.spec.piece_bytes, self._token_bytes)
            return pieces.decode_text_prefix(self._model, data, self.spec.piece_bytes, self._token_bytes)

    def decoded_size(self, codes: ArrayLike) -> int:
        """How many bytes codes decode to; the same checks as `decode`."""
        return len(self.decode(codes))

    def _header(self) -> dict[str, Any]:
        spec = self.spec
        return {"stream": str(spec), "piece_bytes": spec.piece_bytes, "model": type(self.predictor).__name__}

    def _arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self.predictor, FixedM1):
            return self.predictor.fixed._asdict()
        if isinstance(self.predictor, FloatM1):
            return {"m1": np.frombuffer(self.predictor.m1.to_bytes(), np.uint8)}
        return {"cumulative": self.predictor.cumulative} if self.predictor else {}

    def to_bytes(self) -> bytes:
        """The artefact: versioned, checksummed, no pickle."""
        header = {**self._header(), "fingerprint": self.fingerprint, "notes": self.notes}
        return pack(header, self._arrays())

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str = "codec") -> "StreamCodec":
        """The codec of an artefact.

        Raises:
            shammie.errors.UserError: the bytes are no stream codec, of another version, or damaged.
        """
        header, arrays = unpack(data, name)
        try:
            codec = cls(_spec_of(header), _predictor_of(header["model"], arrays), notes=header.get("notes"))
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{name} is not a valid stream codec: {error}", "make one anew") from error
        if codec.fingerprint != header.get("fingerprint"):
            raise UserError(f"{name} is not the codec that it says it is", "copy it again from where it was made")
        return codec

    def __repr__(self) -> str:
        return f"StreamCodec({self.spec}, {self.fingerprint[:12]})"


def _spec_of(header: dict[str, Any]) -> StreamSpec:
    for name, kind in (("stream", str), ("piece_bytes", int), ("model", str)):
        if type(header[name]) is not kind:
            raise ValueError(f"its {name} is {header[name]!r}")
    spec = spec_of_stream(header["stream"])
    if spec is None:
        raise ValueError(f"there is no stream {header['stream']!r}")
    return replace(spec, piece_bytes=header["piece_bytes"])


def _predictor_of(kind: str, arrays: dict[str, np.ndarray]) -> Predictor:
    if kind == FixedM1.__name__:
        dtypes = {"hidden": np.int16, "logits": np.int16, "sigmoid": np.int16, "tanh": np.int16, "scales": np.int64}
        for name in Fixed._fields:
            if arrays[name].dtype != dtypes.get(name, np.int32):
                raise ValueError(f"M1's {name} is of {arrays[name].dtype}")
        return FixedM1(Fixed(*(arrays[name] for name in Fixed._fields)))
    if kind == FloatM1.__name__:
        from models.equal_info.m1 import M1  # see `models`

        return FloatM1(M1.from_bytes(arrays["m1"].tobytes()))
    return Unigram(arrays["cumulative"]) if kind == Unigram.__name__ else None
