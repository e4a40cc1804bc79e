"""Compares codes on one text: density, speed and how learnable their tokens are (`shammie codes`)."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.equal_info.codec import Codec
from models.equal_info.codes import CODES
from models.equal_info.m1 import M1, M1Config
from models.equal_info.proxy import bigram_bits_per_byte
from shammie.errors import UserError
from shammie.progress import Progress
from workflows.bench.table import Table, median_seconds


@dataclass(frozen=True)
class CodeSpec:
    """One code to build: scheme, vocabulary size and window."""

    scheme: str
    vocab_size: int
    window_bits: int = 16

    def __str__(self) -> str:
        return f"{self.scheme}-{self.vocab_size}"


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
        bigram_bits_per_byte: the learnability proxy.
        documents_lost: documents that did not come back.
    """

    name: str
    vocab_size: int
    bytes_per_token: float
    encode_mb_per_s: float
    decode_mb_per_s: float
    lossless: bool
    bigram_bits_per_byte: float
    documents_lost: int = 0


def spec_of(text: str) -> CodeSpec:
    """Parses SCHEME:VOCABULARY[:WINDOW_BITS], for example pruned:65536 or delay:4096:12.

    Raises:
        UserError: no such code, or a size that is none.
    """
    scheme, *numbers = text.split(":")
    if scheme not in CODES:
        raise UserError(f"there is no code {scheme!r}", f"choose from {', '.join(CODES)}")
    try:
        sizes = [int(number) for number in numbers]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not 257 <= sizes[0] <= 1 << 16:
        raise UserError(f"{text!r} names no code", "write SCHEME:VOCABULARY, such as pruned:65536 (257 to 65536)")
    if scheme in ("greedy", "delay"):
        window = sizes[1] if len(sizes) == 2 else sizes[0].bit_length() - 1
        if sizes[0] != 1 << window:
            raise UserError(f"{scheme} has one code for each window: {sizes[0]} is not 2^{window}", "use a power of 2")
        return CodeSpec(scheme, sizes[0], window)
    return CodeSpec(scheme, *sizes)


def build(spec: CodeSpec, m1: M1, text: np.ndarray, notes: dict[str, Any] | None = None) -> Codec:
    """Compiles a code: M1 proposes, text prunes, and the network is never needed again.

    Args:
        spec: which code.
        m1: the trained byte model.
        text: uint8 [bytes], what pruning counts on.
        notes: what the codec shall say of its making.
    """
    code = CODES[spec.scheme]
    candidates = code.propose(m1, spec.vocab_size, spec.window_bits)
    dictionary = code.prune(candidates, text, spec.vocab_size)
    return Codec(dictionary, scheme=spec.scheme, window_bits=spec.window_bits, notes=notes)


def measure_codec(name: str, codec: Codec, train: Sequence[bytes], test: Sequence[bytes]) -> Measured:
    """Density, one-thread speed, losslessness and learnability of a codec."""
    rows = codec.encode_batch(test)
    encode_s = median_seconds(lambda: codec.encode_batch(test))
    joined = np.concatenate(rows)
    decode_s = median_seconds(lambda: codec.decode(joined))
    back = [codec.decode(row) for row in rows]
    return measured(name, codec.vocab_size, codec.encode_batch(train), rows, test, back, encode_s, decode_s)


def measured(
    name: str,
    vocab_size: int,
    train_rows: Sequence[Any],
    test_rows: Sequence[Any],
    test: Sequence[bytes],
    back: Sequence[bytes],
    encode_s: float,
    decode_s: float,
) -> Measured:
    """The measures of any tokenizer from its token rows, what they decoded to, and its times in seconds."""
    size = sum(map(len, test))
    lost = sum(ours != theirs for ours, theirs in zip(back, test, strict=True))
    return Measured(
        name=name,
        vocab_size=vocab_size,
        bytes_per_token=size / sum(map(len, test_rows)),
        encode_mb_per_s=size / encode_s / 1e6,
        decode_mb_per_s=size / decode_s / 1e6,
        lossless=lost == 0,
        bigram_bits_per_byte=bigram_bits_per_byte(
            [np.asarray(row) for row in train_rows],
            [np.asarray(row) for row in test_rows],
            vocab_size=vocab_size,
            test_bytes=size,
        ),
        documents_lost=lost,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `shammie codes`."""
    parser.add_argument(
        "--codes",
        default="greedy:65536,delay:65536,full:65536,pruned:65536,full:4096,pruned:4096,delay:4096:12",
        help="SCHEME:VOCABULARY[:WINDOW_BITS], several with commas",
    )
    parser.add_argument("--m1", help="a trained M1 (m1.bin of a run); default: train one now")
    parser.add_argument("--m1_steps", type=int, default=300, help="training steps where --m1 is not given")
    parser.add_argument("--train", help="a text file to train and prune on; default: the embedded corpus")
    parser.add_argument("--test", help="a held-out text file")
    parser.add_argument("--save", help="a folder for the compiled codecs")
    parser.add_argument("--json", help="write the measures here")


def run(args: argparse.Namespace) -> int:
    """Compiles each code and prints one table."""
    import jax

    specs = [spec_of(text) for text in args.codes.split(",")]
    train, test = _documents(args.train, args.test)
    text = np.frombuffer(b"".join(train), np.uint8)
    if args.m1:
        m1 = M1.from_bytes(Path(args.m1).read_bytes())
    else:
        from models.equal_info.m1 import train_m1

        with Progress("training M1", args.m1_steps, "steps") as progress:
            m1 = train_m1(
                M1Config(steps=args.m1_steps),
                text,
                jax.random.key(0),
                lambda step, loss: progress.to(step, f"{loss / np.log(2):.3f} bits/byte"),
            )
    rows = []
    with Progress("codes", len(specs), "codes") as progress:
        for spec in specs:
            start = time.perf_counter()
            codec = build(spec, m1, text)
            seconds = time.perf_counter() - start
            if args.save:
                Path(args.save).mkdir(parents=True, exist_ok=True)
                codec.save(str(Path(args.save) / f"{spec}.codec"))
            rows.append((measure_codec(str(spec), codec, train, test), seconds))
            progress.advance()
    table = Table(
        "Codes on held-out text",
        ["code", "tokens", "bytes/token", "bigram bits/byte", "encode MB/s", "decode MB/s", "compile s", "lossless"],
        [
            [
                m.name,
                m.vocab_size,
                round(m.bytes_per_token, 3),
                round(m.bigram_bits_per_byte, 3),
                round(m.encode_mb_per_s),
                round(m.decode_mb_per_s),
                round(seconds, 1),
                "yes" if m.lossless else f"no: {m.documents_lost} of {len(test)} documents lost",
            ]
            for m, seconds in rows
        ],
    )
    print(table.render())
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(m) for m, _ in rows], indent=2) + "\n")
    return 0


def _documents(train: str | None, test: str | None) -> tuple[list[bytes], list[bytes]]:
    if bool(train) != bool(test):
        raise UserError("--train and --test go together", "name both, or neither for the embedded corpus")
    if train and test:
        return [Path(train).read_bytes()], [Path(test).read_bytes()]
    from workflows.corpus import by_split, embedded_documents

    splits = by_split(embedded_documents())
    return [d.text for d in splits["train"]], [d.text for d in splits["test"]]
