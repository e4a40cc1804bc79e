"""What turns text into the ids of a language model: our codes, the paper's compressors, raw bytes, SentencePiece.

All of them give model ids (`models.equal_info.ids`): 0 pads, 1 ends a document, text begins at 2. A method's name in
gin and in reports:

    pruned:4096           a code, one token a window
    delay:65536/8         a code's 16 bits as two tokens of 8, the paper's small vocabulary
    windows:24/8          Equal-Info windows of 24 bits, read by 8; /16 reads by 16, and crosses windows
    windows:16:2/16       M1 begins anew at every second window; windows:16:never/8 only every 10,240 bytes of text
    greedy_windows:64/8   the paper's own rule, which loses text
    ac/8  static_ac/16    arithmetic coding by M1, or by the shares of single bytes, in pieces of 10,240 bytes
    gzip/8                zlib, in such pieces
    bytes                 UTF-8 bytes, as ByT5 reads them
    sentencepiece:4096    SentencePiece BPE, lossless settings; also sentencepiece_crossing (pieces may cross words)
                          and sentencepiece_unigram
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.equal_info.codec import Codec
from models.equal_info.codes import CODES
from models.equal_info.ids import SPECIAL_IDS, codes_of_ids, ids_of_codes
from models.equal_info.load import AnyCodec
from models.equal_info.m1 import M1
from models.equal_info.plain import BYTES, BytesCodec
from models.equal_info.sentencepieces import LEAST_VOCABULARY, MOST_VOCABULARY, SENTENCEPIECE, SentencePieceCodec
from models.equal_info.streams.build import stream_codec
from models.equal_info.streams.codec import StreamCodec
from models.equal_info.streams.pieces import TRAILER_BYTES
from models.equal_info.streams.spec import SCHEMES, WINDOWED, StreamSpec, spec_of_stream
from shammie.errors import UserError, unknown
from workflows.compare_codes import spec_of

IN_BYTES = "/8"


@dataclass(frozen=True)
class Tokenizer:
    """Text to model ids and back.

    Attributes:
        name: the method's name.
        vocab_size: of a model that reads it, padding and end of document included.
        made_with: identifies it: a codec's fingerprint, or a name with what it was trained to.
        encode: documents to their ids, without the end; int32 [tokens] each.
        decode: ids of text to bytes; as much as they decide where a stream's are cut, or drawn by a model.
        window_tokens: tokens after which a window begins at a token's start again; 1 where there are no windows.
        trailer_tokens: at a text's end that tell its length and say nothing of its content.
    """

    name: str
    vocab_size: int
    made_with: str
    encode: Callable[[Sequence[bytes]], list[np.ndarray]]
    decode: Callable[[np.ndarray], bytes]
    window_tokens: int = 1
    trailer_tokens: int = 0

    def bodies(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        """What `encode` gives, without what only tells a text's length: for texts whose size is known."""
        return [ids[: max(0, len(ids) - self.trailer_tokens)] for ids in self.encode(texts)]


def code_of(method: str) -> str | None:
    """The code that a method reads text with, as `spec_of` writes it; None for bytes, SentencePiece and streams.

    Raises:
        UserError: there is no such method.
    """
    if method == BYTES:
        return None
    if sentencepiece_of_method(method) or stream_of_method(method):
        return None
    scheme = method.replace("-", ":").partition(":")[0].partition("/")[0]
    if scheme not in CODES:
        raise unknown("code", scheme, [*CODES, *SCHEMES, *SENTENCEPIECE, BYTES])
    spec = spec_of(method.removesuffix(IN_BYTES))
    if method.endswith(IN_BYTES) and spec.vocab_size != 1 << 16:
        raise UserError(f"{method!r}: only codes of 16 bits are two of 8", "use a vocabulary of 65536")
    return str(spec)


def sentencepiece_of_method(method: str) -> tuple[str, bool, int] | None:
    """The kind of model, whether pieces cross words, and the vocabulary, where the method is SentencePiece."""
    scheme, _, size = method.partition(":")
    if scheme not in SENTENCEPIECE:
        return None
    if not size.isdecimal() or not LEAST_VOCABULARY <= int(size) <= MOST_VOCABULARY:
        raise UserError(
            f"{method!r} names no SentencePiece vocabulary", f"write {scheme}:4096 (300 or more, up to 65536)"
        )
    return *SENTENCEPIECE[scheme], int(size)


def stream_of_method(method: str) -> StreamSpec | None:
    """The stream that a method reads text with, None where it is none.

    Raises:
        UserError: it names a stream wrongly.
    """
    return spec_of_stream(method)


def runs_m1(method: str) -> bool:
    """Whether reading text by the method runs M1: windows and "ac" do, compiled dictionaries do not."""
    stream = stream_of_method(method)
    return stream is not None and stream.scheme in (*WINDOWED, "ac")


def build_stream(
    spec: StreamSpec, m1: M1 | None, train_text: np.ndarray, notes: dict[str, Any] | None = None
) -> StreamCodec:
    """Makes a stream's codec.

    Args:
        spec: which.
        m1: the trained byte model; gzip and static_ac need none.
        train_text: uint8 [bytes], on which static_ac counts.
        notes: what the codec shall say of its making.

    Raises:
        UserError: the stream needs M1 and there is none.
    """
    if m1 is None and runs_m1(str(spec)):
        raise UserError(f"{spec} needs a trained M1", "train one with `shammie run equal_info`")
    return stream_codec(spec, m1=m1, text=train_text, notes=notes)


def load_stream(data: bytes) -> StreamCodec:
    """The stream codec of its artefact; UserError where the bytes are none."""
    return StreamCodec.from_bytes(data)


def of_stream(method: str, codec: StreamCodec) -> Tokenizer:
    """A stream's tokenizer."""
    plain = _tokenizer(method, codec, codec.fingerprint, max(1, codec.spec.window_tokens.numerator))
    ends_in_length = codec.scheme in ("ac", "static_ac")
    return replace(plain, trailer_tokens=TRAILER_BYTES * 8 // codec.spec.token_bits if ends_in_length else 0)


def of_codec(method: str, codec: Codec) -> Tokenizer:
    """A code's tokenizer, with one token a window or, where the method's name ends in /8, two."""
    if not method.endswith(IN_BYTES):
        return _tokenizer(method, codec, codec.fingerprint)

    def encode(texts: Sequence[bytes]) -> list[np.ndarray]:
        return [codes.astype(">u2").view(np.uint8).astype(np.int32) + SPECIAL_IDS
                for codes in codec.encode_batch(list(texts))]  # fmt: skip

    def decode(ids: np.ndarray) -> bytes:
        halves = (np.asarray(ids) - SPECIAL_IDS).astype(np.uint8)
        return codec.decode_prefix(halves[: len(halves) // 2 * 2].view(">u2").astype(np.int64))

    return Tokenizer(method, 256 + SPECIAL_IDS, f"{codec.fingerprint}{IN_BYTES}", encode, decode, window_tokens=2)


def of_bytes() -> Tokenizer:
    """UTF-8 bytes."""
    return _tokenizer(BYTES, BytesCodec(), BYTES)


def of_sentencepiece(method: str, model: bytes) -> Tokenizer:
    """A trained SentencePiece model."""
    codec = SentencePieceCodec(model, scheme=method.partition(":")[0])
    return _tokenizer(method, codec, f"sentencepiece {hashlib.sha256(model).hexdigest()}")


def _tokenizer(method: str, codec: AnyCodec, made_with: str, window_tokens: int = 1) -> Tokenizer:
    """A codec's tokenizer: its ids are the codes and two more; what stands for no text is left out."""
    return Tokenizer(
        method,
        codec.vocab_size + SPECIAL_IDS,
        made_with,
        lambda texts: [ids_of_codes(codes) for codes in codec.encode_batch(list(texts))],
        lambda ids: codec.decode_prefix(codes_of_ids(ids)),
        window_tokens,
    )
