"""`shammie codes`: any set of codes, made, saved as codec files and measured side by side on one text."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from models.equal_info.m1 import M1, M1Config
from models.equal_info.plain import BYTES, BytesCodec
from models.equal_info.sentencepieces import library
from shammie.errors import UserError
from shammie.progress import Progress
from workflows.any_codec import file_name, make_codec, methods_of, needs_m1
from workflows.bench.table import Table
from workflows.compare_codes import measure_codec
from workflows.tokenizers import sentencepiece_of_method

LM_WINDOW_BYTES = (
    1024  # what an M1 that is a language model was trained on: the paper's, gin/equal_info/m1_training.gin
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `shammie codes`."""
    parser.add_argument(
        "--codes",
        default="greedy:65536,delay:65536,full:65536,pruned:65536,full:4096,pruned:4096,delay:4096:12",
        help="several with commas: SCHEME:VOCABULARY[:WINDOW_BITS], windows:24/8, ac/16, static_ac/8, gzip/16, bytes, "
        "sentencepiece_unigram:32000 or another SentencePiece",
    )
    parser.add_argument(
        "--m1",
        help="a trained M1 (m1.bin of a run, or lm.bin of a model over bytes); default: train one now, if needed",
    )
    parser.add_argument("--m1_steps", type=int, default=300, help="training steps where --m1 is not given")
    parser.add_argument("--train", help="a text file to train and prune on; default: the embedded corpus")
    parser.add_argument("--test", help="a held-out text file")
    parser.add_argument("--save", help="a folder for the codecs, for --codec of other commands")
    parser.add_argument("--json", help="write the measures here")


def run(args: argparse.Namespace) -> int:
    """Makes each codec, saves it and prints one table; M1 is trained only where a codec needs it and none is named."""
    methods = methods_of(args.codes.split(","))
    if any(map(sentencepiece_of_method, methods)):
        library()  # its absence shows before any work is done
    train, test = _documents(args.train, args.test)
    m1 = _m1(args, train) if any(map(needs_m1, methods)) else None
    rows = []
    with Progress("codes", len(methods), "codes") as progress:
        for method in methods:
            start = time.perf_counter()
            codec = make_codec(method, m1, train)
            seconds = None if method == BYTES else time.perf_counter() - start
            if args.save:
                Path(args.save).mkdir(parents=True, exist_ok=True)
                codec.save(str(Path(args.save) / file_name(method)))
            rows.append((measure_codec(method, codec, train, test), seconds))
            progress.advance()
    table = Table(
        "Codes on held-out text",
        ["code", "tokens", "bytes/token", "bigram bits/byte", "encode MB/s", "decode MB/s", "compile s", "lossless"],
        [
            [
                m.name,
                m.vocab_size,
                round(m.bytes_per_token, 3),
                "" if m.bigram_bits_per_byte is None else round(m.bigram_bits_per_byte, 3),
                _speed(m.encode_mb_per_s),
                _speed(m.decode_mb_per_s),
                "" if seconds is None else round(seconds, 1),
                "yes" if m.lossless else f"no: {m.documents_lost} of {len(test)} documents lost",
            ]
            for m, seconds in rows
        ],
    )
    print(table.render())
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(m) for m, _ in rows], indent=2) + "\n")
    return 0


def _speed(mb_per_s: float) -> float:
    return round(mb_per_s) if mb_per_s >= 10 else round(mb_per_s, 2)


def _m1(args: argparse.Namespace, train: Sequence[bytes]) -> M1:
    """The M1 that --m1 names, or one trained now."""
    if args.m1:
        return m1_of_bytes(Path(args.m1).read_bytes())
    import jax

    from models.equal_info.m1 import train_m1

    with Progress("training M1", args.m1_steps, "steps") as progress:
        return train_m1(
            M1Config(steps=args.m1_steps),
            np.frombuffer(b"".join(train), np.uint8),
            jax.random.key(0),
            lambda step, loss: progress.to(step, f"{loss / np.log(2):.3f} bits/byte"),
        )


def m1_of_bytes(data: bytes) -> M1:
    """The M1 of an m1.bin, or of a language model over bytes (an lm.bin, such as `workflows.train.export` makes).

    Raises:
        UserError: the bytes are neither.
    """
    from models.equal_info.m1 import m1_of_lm
    from models.lm.artefact import TrainedLM

    try:
        model = TrainedLM.from_bytes(data)
    except UserError:
        return M1.from_bytes(data)
    if model.made_with not in (BYTES, BytesCodec().fingerprint):
        raise UserError(
            f"the language model reads ids of {model.made_with[:16]}, not bytes", "train one on --codec bytes"
        )
    return m1_of_lm(model, LM_WINDOW_BYTES)


def _documents(train: str | None, test: str | None) -> tuple[list[bytes], list[bytes]]:
    if bool(train) != bool(test):
        raise UserError("--train and --test go together", "name both, or neither for the embedded corpus")
    if train and test:
        texts = [Path(path).read_bytes() for path in (train, test)]
        for path, text in zip((train, test), texts, strict=True):
            if not text:
                raise UserError(f"{path} is empty", "name a file that holds text")
        return [texts[0]], [texts[1]]
    from workflows.corpus import by_split, embedded_documents

    splits = by_split(embedded_documents())
    return [d.text for d in splits["train"]], [d.text for d in splits["test"]]
