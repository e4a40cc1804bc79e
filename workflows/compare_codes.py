"""Builds codes and measures them, or any tokenizer, on one text: density, speed, how learnable the tokens are."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.equal_info.codec import Codec
from models.equal_info.codes import CODES
from models.equal_info.load import AnyCodec
from models.equal_info.m1 import M1
from models.equal_info.proxy import bigram_bits_per_byte
from models.equal_info.streams.codec import StreamCodec
from shammie.errors import UserError, unknown
from workflows.bench.table import median_seconds

ONE_CODE_A_WINDOW = ("greedy", "delay")
SEGMENT_SAMPLE_BYTES = 100_000
SLOW_SECONDS = 5.0


@dataclass(frozen=True)
class CodeSpec:
    """One code to build: scheme, vocabulary size and window.

    Its text, such as pruned-65536 or full-1024-12, names files and rows; `spec_of` reads it back.
    """

    scheme: str
    vocab_size: int
    window_bits: int = 16

    def __str__(self) -> str:
        window = "" if self.window_bits == _usual_window(self.scheme, self.vocab_size) else f"-{self.window_bits}"
        return f"{self.scheme}-{self.vocab_size}{window}"


def _usual_window(scheme: str, vocab_size: int) -> int:
    return vocab_size.bit_length() - 1 if scheme in ONE_CODE_A_WINDOW else 16


@dataclass(frozen=True)
class Measured:
    """What was measured of a tokenizer on held-out documents.

    Attributes:
        name: the code or peer.
        vocab_size: its tokens.
        bytes_per_token: density.
        encode_mb_per_s: one thread, all documents in one call, median of repeats.
        decode_mb_per_s: likewise.
        lossless: whether every document came back.
        bigram_bits_per_byte: the learnability proxy; None of streams, whose codes mean what those before them let them.
        documents_lost: documents that did not come back.
    """

    name: str
    vocab_size: int
    bytes_per_token: float
    encode_mb_per_s: float
    decode_mb_per_s: float
    lossless: bool
    bigram_bits_per_byte: float | None
    documents_lost: int = 0


def spec_of(text: str) -> CodeSpec:
    """Parses SCHEME:VOCABULARY[:WINDOW_BITS], for example pruned:65536 or full:4096:12; "-" may stand for ":".

    Raises:
        UserError: no such code, or a size that is none.
    """
    scheme, *numbers = text.replace("-", ":").split(":")
    if scheme not in CODES:
        raise unknown("code", scheme, CODES)
    try:
        sizes = [int(number) for number in numbers]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not 257 <= sizes[0] <= 1 << 16:
        raise UserError(f"{text!r} names no code", "write SCHEME:VOCABULARY, such as pruned:65536 (257 to 65536)")
    window = sizes[1] if len(sizes) == 2 else _usual_window(scheme, sizes[0])
    if not 9 <= window <= 16:
        raise UserError(f"{text!r} has windows of {window} bits", "windows have 9 to 16 bits")
    if scheme in ONE_CODE_A_WINDOW and sizes[0] != 1 << window:
        raise UserError(f"{scheme} has one code for each window: {sizes[0]} is not 2^{window}", "use a power of 2")
    return CodeSpec(scheme, sizes[0], window)


def specs_of(texts: Sequence[str]) -> list[CodeSpec]:
    """Parses several codes; UserError where there are none, or one comes twice."""
    if isinstance(texts, str) or not texts:
        raise UserError(f"codes are {texts!r}", "give a list, such as ('pruned:65536', 'full:4096')")
    specs = [spec_of(text) for text in texts]
    for spec in specs:
        if specs.count(spec) > 1:
            raise UserError(f"the code {spec} is named twice", "name each code once")
    return specs


def build(spec: CodeSpec, m1: M1, text: np.ndarray, notes: dict[str, Any] | None = None) -> Codec:
    """Compiles a code: M1 proposes, text prunes, and the network is never needed again.

    Args:
        spec: which code.
        m1: the trained byte model.
        text: uint8 [bytes], what pruning counts on.
        notes: what the codec shall say of its making.

    Raises:
        ValueError: the code's own `segment` is not what the automaton does.
    """
    code = CODES[spec.scheme]
    candidates = code.propose(m1, spec.vocab_size, spec.window_bits)
    dictionary = code.prune(candidates, text, spec.vocab_size)
    codec = Codec(dictionary, scheme=spec.scheme, window_bits=spec.window_bits, notes=notes)
    sample = text[:SEGMENT_SAMPLE_BYTES]
    if not np.array_equal(codec.encode(sample), code.segment(dictionary, sample)):
        raise ValueError(
            f"{spec.scheme}.segment reads text otherwise than the compiled automaton, which is longest match"
        )
    return codec


def measure_codec(name: str, codec: AnyCodec, train: Sequence[bytes], test: Sequence[bytes]) -> Measured:
    """Density, one-thread speed, losslessness and learnability of a codec; one that takes seconds is timed once."""
    started = time.perf_counter()
    rows = codec.encode_batch(test)
    repeats, warmups = (1, 0) if time.perf_counter() - started > SLOW_SECONDS else (5, 1)
    encode_s = median_seconds(lambda: codec.encode_batch(test), repeats, warmups=warmups)
    # a stream's codes say what they say behind those before them, so that its rows cannot be joined
    whole = rows if isinstance(codec, StreamCodec) else [np.concatenate(rows)]
    decode_s = median_seconds(lambda: [codec.decode(row) for row in whole], repeats, warmups=warmups)
    back = [codec.decode(row) for row in rows]
    train_rows = None if isinstance(codec, StreamCodec) else codec.encode_batch(train)
    return measured(name, codec.vocab_size, train_rows, rows, test, back, encode_s, decode_s)


def measured(
    name: str,
    vocab_size: int,
    train_rows: Sequence[Any] | None,
    test_rows: Sequence[Any],
    test: Sequence[bytes],
    back: Sequence[bytes],
    encode_s: float,
    decode_s: float,
) -> Measured:
    """The measures of any tokenizer from its token rows, what they decoded to, and its times in seconds.

    Without rows of training text there is no learnability proxy.
    """
    size = sum(map(len, test))
    lost = sum(ours != theirs for ours, theirs in zip(back, test, strict=True))
    bigram = None
    if train_rows is not None:
        rows = [[np.asarray(row) for row in some] for some in (train_rows, test_rows)]
        bigram = bigram_bits_per_byte(*rows, vocab_size=vocab_size, test_bytes=size)
    return Measured(
        name=name,
        vocab_size=vocab_size,
        bytes_per_token=size / sum(map(len, test_rows)),
        encode_mb_per_s=size / encode_s / 1e6,
        decode_mb_per_s=size / decode_s / 1e6,
        lossless=lost == 0,
        bigram_bits_per_byte=bigram,
        documents_lost=lost,
    )
