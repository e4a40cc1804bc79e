"""SentencePiece, the paper's baseline, as a codec that loses nothing.

SentencePiece reads Unicode text, and takes U+2581 for a space. Bytes that are no UTF-8, and U+2581, are written in the
model's 256 byte pieces instead; so every text comes back, also one that was cut inside a character. For all other text
the codes are the piece ids that SentencePiece gives. The library (`pip install sentencepiece==0.2.0`) is imported when
a codec is trained or loaded.
"""

import io
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from models.equal_info.face import Bytes, documents
from models.equal_info.plain import StringCodec
from shammie.errors import UserError

SENTENCEPIECE = {  # the kind of model, and whether pieces may cross words
    "sentencepiece": ("bpe", False),
    "sentencepiece_crossing": ("bpe", True),
    "sentencepiece_unigram": ("unigram", False),
}
LEAST_VOCABULARY, MOST_VOCABULARY = 300, 1 << 16  # codes are 16 bits
CHUNK_BYTES = 4000  # SentencePiece drops longer "sentences"
PART_CHARACTERS = 1 << 20  # of a text at a time: SentencePiece holds up to a hundred bytes for each
_SPACE = "\u2581"  # how SentencePiece writes a space
_KEEP = "surrogateescape"


class SentencePieceCodec(StringCodec):
    """A trained SentencePiece model as a codec.

    Args:
        model: as SentencePiece serialises it; with byte pieces, and settings that keep text (`train_sentencepiece`).
        scheme: the method's name, one of SENTENCEPIECE.
        notes: what the codec was trained on and how, plain JSON; no part of its identity.

    Raises:
        ValueError: it is no such model.
        shammie.errors.UserError: SentencePiece is not installed.
    """

    MAGIC = b"\x89EQSPCE\n"
    KIND = "SentencePiece codec"

    def __init__(
        self, model: bytes, *, scheme: str = "sentencepiece_unigram", notes: dict[str, Any] | None = None
    ) -> None:
        if scheme not in SENTENCEPIECE:
            raise ValueError(f"{scheme!r} is none of {', '.join(SENTENCEPIECE)}")
        self.model, self._processor = model, processor_of(model)
        pieces = range(self._processor.get_piece_size())
        if len(pieces) > MOST_VOCABULARY:
            raise ValueError(f"codes are 16 bits: {len(pieces):,} pieces are over {MOST_VOCABULARY:,}")
        super().__init__(scheme, [self._string(piece) for piece in pieces], notes)
        byte_pieces = {self.strings[piece][0]: piece for piece in pieces if self._processor.is_byte(piece)}
        if len(byte_pieces) < 256:
            raise ValueError("the model has no piece for each byte: train it with byte_fallback")
        self._piece_of_byte = np.array([byte_pieces[byte] for byte in range(256)], np.uint16)
        spaced = not self._processor.is_unknown(self._processor.piece_to_id(_SPACE))
        # what the error handler makes of bytes that are no UTF-8, and what the model has no piece for
        self._unreadable = re.compile(f"([\udc80-\udcff{_SPACE}{'' if spaced else ' '}]+)")
        for probe in ("a", "\ufb01", *([" a  b\n"] if spaced else [])):
            if self.decode_prefix(self._processor.encode(probe)) != probe.encode():
                raise ValueError("the model changes text: train it without normalization and dummy prefix")

    def _string(self, piece: int) -> bytes:
        text = self._processor.id_to_piece(piece)
        if self._processor.is_byte(piece):
            return bytes([int(text[1:-1], 16)])  # written as <0x41>
        silent = self._processor.is_control(piece) or self._processor.is_unknown(piece)
        return b"" if silent else text.replace(_SPACE, " ").encode()

    def encode_documents(
        self, buffer: Bytes, offsets: np.ndarray, *, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The piece ids of documents: see `TextCodec.encode_documents`.

        A document over a million characters is read in parts of that size. A document that would not come back, by a
        model other than those of `train_sentencepiece`, is written in byte pieces.
        """
        text, offsets = documents(buffer, offsets, threads)
        texts = [text[start:end].tobytes() for start, end in pairwise(offsets.tolist())]
        parts = [list(self._parts(one)) for one in texts]
        readable = [part for document in parts for part in document if isinstance(part, str)]
        found = iter(self._processor.encode(readable, num_threads=threads))
        rows = [
            np.concatenate([np.zeros(0, np.uint16), *(
                np.array(next(found), np.uint16) if isinstance(part, str) else self._bytes(part) for part in document
            )])
            for document in parts
        ]  # fmt: skip
        rows = [row if self._text(row) == one else self._bytes(one) for row, one in zip(rows, texts, strict=True)]
        bounds = np.zeros(len(offsets), np.int64)
        np.cumsum([len(row) for row in rows], out=bounds[1:])
        return np.concatenate([np.zeros(0, np.uint16), *rows]), bounds

    def _parts(self, document: bytes) -> Iterator[str | bytes]:
        """A document as text for SentencePiece and, between, bytes for byte pieces."""
        for number, part in enumerate(self._unreadable.split(document.decode("utf-8", _KEEP))):
            if number % 2:
                yield part.encode("utf-8", _KEEP)
            else:
                for start in range(0, len(part), PART_CHARACTERS):
                    yield part[start : start + PART_CHARACTERS]

    def _bytes(self, text: bytes) -> np.ndarray:
        return self._piece_of_byte[np.frombuffer(text, np.uint8)]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"model": np.frombuffer(self.model, np.uint8)}

    @classmethod
    def _of_parts(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(arrays["model"].tobytes(), scheme=header["scheme"], notes=header.get("notes"))


def train_sentencepiece(
    kind: str, documents: Sequence[bytes], vocab_size: int, *, cross_words: bool = False, split_digits: bool = False
) -> bytes:
    """SentencePiece, "bpe" or "unigram": identity normalization, byte fallback, whitespace pieces, no dummy prefix.

    Args:
        kind: the model type.
        documents: training text.
        vocab_size: of the model, control symbols included.
        cross_words: pieces may contain spaces inside.
        split_digits: each digit is a piece of its own, so that equal numbers are written alike; for models that count.

    Returns:
        The model, as SentencePiece serialises it.
    """
    from models.equal_info.explore import MAX_TOKEN_BYTES  # which brings JAX; a codec at work needs none

    model = io.BytesIO()
    library().SentencePieceTrainer.train(
        sentence_iterator=iter(chunks(documents)),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab_size,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        split_by_whitespace=not cross_words,
        split_digits=split_digits,
        character_coverage=1.0,
        max_sentencepiece_length=MAX_TOKEN_BYTES,
        hard_vocab_limit=False,  # little text may not hold as many pieces
        num_threads=2,
        minloglevel=2,
    )
    return model.getvalue()


def processor_of(model: bytes) -> Any:
    """A trained model at work; ValueError where the bytes are none."""
    try:
        return library().SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ValueError(f"no SentencePiece model: {error}") from error


def chunks(documents: Sequence[bytes]) -> list[str]:
    """Documents as strings of at most a few thousand bytes, cut after a line's end; nothing is lost."""
    out: list[str] = []
    for document in documents:
        part = io.StringIO()
        for line in document.decode("utf-8", "replace").splitlines(keepends=True):
            if part.tell() + len(line) > CHUNK_BYTES and part.tell():
                out.append(part.getvalue())
                part = io.StringIO()
            part.write(line)
        for start in range(0, part.tell(), CHUNK_BYTES):
            out.append(part.getvalue()[start : start + CHUNK_BYTES])
    return out


def library() -> Any:
    """The SentencePiece library.

    Raises:
        shammie.errors.UserError: it is not installed.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise UserError("SentencePiece is not installed", "pip install sentencepiece==0.2.0") from error
    return sentencepiece
