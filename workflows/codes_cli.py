"""`shammie codes`: any set of codes, side by side on one text."""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from models.equal_info.m1 import M1, M1Config
from shammie.errors import UserError
from shammie.progress import Progress
from workflows.bench.table import Table
from workflows.compare_codes import build, measure_codec, specs_of


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

    specs = specs_of(args.codes.split(","))
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
        texts = [Path(path).read_bytes() for path in (train, test)]
        for path, text in zip((train, test), texts, strict=True):
            if not text:
                raise UserError(f"{path} is empty", "name a file that holds text")
        return [texts[0]], [texts[1]]
    from workflows.corpus import by_split, embedded_documents

    splits = by_split(embedded_documents())
    return [d.text for d in splits["train"]], [d.text for d in splits["test"]]
