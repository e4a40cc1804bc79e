"""`shammie bench codec`: our codecs beside every peer, on one text, in one process.

Throughput is of one thread, each tokenizer in the feeding that suits it best. Density compares codes of one M1, and
`pruned` with peers of the same vocabulary size trained on the same text.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.equal_info.codec import Codec
from models.equal_info.m1 import M1, M1Config, train_m1
from shammie.files import read_bytes
from shammie.jit import compiled
from shammie.progress import Progress
from workflows.bench.table import Table, Target, median_seconds
from workflows.compare_codes import CodeSpec, build
from workflows.corpus import by_split, embedded_documents
from workflows.peers import Peer, all_peers, chunks

REPEATS = 5
ROUNDS = 20  # encodings a process is asked for at a time, so that asking does not count
ENCODE_TARGETS = {"SentencePiece BPE": 25.0, "HF byte-level BPE": 25.0, "SentencePiece Unigram": 12.0, "tiktoken": 4.0}
DENSITY_TARGETS = {"SentencePiece BPE": 1.2, "HF byte-level BPE": 1.2, "SentencePiece BPE crossing words": 1.1}


@dataclass(frozen=True)
class Speed:
    """Megabytes of text a second, one thread; the feeding is what was quickest for encoding."""

    encode: float
    decode: float
    feeding: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's flags."""
    parser.add_argument("--m1", help="a trained M1 (m1.bin of a run); default: train one now, two minutes")
    parser.add_argument("--m1_steps", type=int, default=1200, help="training steps where --m1 is not given")
    parser.add_argument("--train_mb", type=float, default=6.0, help="training text for M1, pruning and peers")
    parser.add_argument("--speed_mb", type=float, default=3.0, help="text that speed is measured on")
    parser.add_argument("--vocab_sizes", default="4096,16384", help="sizes at which peers are trained")


def run(args: argparse.Namespace) -> Table:
    """Measures and compares."""
    splits = by_split(embedded_documents())
    train = _up_to([document.text for document in splits["train"]], args.train_mb)
    test = [document.text for document in splits["test"]]
    speed_text = _up_to([*test, *(document.text for document in splits["train"])], args.speed_mb)
    m1 = M1.from_bytes(read_bytes(args.m1)) if args.m1 else _trained(train, args.m1_steps)
    text = np.frombuffer(b"".join(train), np.uint8)
    sizes = [int(size) for size in args.vocab_sizes.split(",")]
    codecs, compile_s = {}, {}
    specs = [CodeSpec(scheme, 1 << 16) for scheme in ("greedy", "delay", "full", "pruned")]
    for spec in specs + [CodeSpec("pruned", size) for size in sizes]:
        start = time.perf_counter()
        codecs[str(spec)] = build(spec, m1, text)
        compile_s[str(spec)] = time.perf_counter() - start
    rows: list[list[Any]] = []
    density, speed = {}, {}
    for name, codec in codecs.items():
        density[name], speed[name] = _density(codec.encode_batch(test), test), _our_speed(codec, speed_text)
        rows.append(_row(name, codec.vocab_size, density[name], speed[name]))
    targets: list[Target] = []
    best = speed["pruned-65536"]
    with Progress("peers", 5 * len(sizes), "peers") as progress:
        for size in sizes:
            for peer in all_peers(train, size):
                name = f"{peer.name} {size}"
                density[name], speed[name] = _density(peer.encode(test), test), _peer_speed(peer, speed_text)
                rows.append(_row(name, peer.vocab_size, density[name], speed[name]))
                targets += _against(peer.name, size, best, speed[name], density[f"pruned-{size}"] / density[name])
                progress.advance(note=name)
    targets += [
        Target("full / greedy, bytes per token", density["full-65536"] / density["greedy-65536"], 1.10),
        Target("pruned / greedy, bytes per token", density["pruned-65536"] / density["greedy-65536"], 1.25),
        Target("slowest compile, s", max(compile_s.values()), 60.0, "less"),
        Target("encode, MB/s", best.encode, 100.0),
        Target("decode, MB/s", best.decode, 250.0),
        Target("two threads / two processes, encode", _threads_to_processes(codecs["pruned-65536"], speed_text), 0.95),
    ]
    bare = _bare_pass_mb_per_s(speed_text)
    return Table(
        "Codecs and peers on held-out text",
        ["tokenizer", "tokens", "bytes/token", "encode MB/s", "decode MB/s", "fed by"],
        rows,
        notes=[
            f"a bare pass over the bytes (their sum) runs at {bare:,.0f} MB/s, {bare / best.encode:.0f} x encoding",
            "compile seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in compile_s.items()),
        ],
        targets=targets,
    )


def _against(peer: str, size: int, ours: Speed, theirs: Speed, density_ratio: float) -> list[Target]:
    out = [Target(f"decode / {peer} {size}", ours.decode / theirs.decode, 10.0)]
    if peer in ENCODE_TARGETS:
        out.append(Target(f"encode / {peer} {size}", ours.encode / theirs.encode, ENCODE_TARGETS[peer]))
    if peer in DENSITY_TARGETS:
        out.append(Target(f"pruned-{size} / {peer} {size}, bytes per token", density_ratio, DENSITY_TARGETS[peer]))
    return out


def _row(name: str, vocab_size: int, density: float, speed: Speed) -> list[Any]:
    return [name, vocab_size, f"{density:.3f}", round(speed.encode, 1), round(speed.decode, 1), speed.feeding]


def _trained(train: Sequence[bytes], steps: int) -> M1:
    import jax

    text = np.frombuffer(b"".join(train), np.uint8)
    with Progress("training M1", steps, "steps") as progress:
        return train_m1(M1Config(steps=steps), text, jax.random.key(0), lambda step, loss: progress.to(step))


def _up_to(texts: Sequence[bytes], megabytes: float) -> list[bytes]:
    out, left = [], int(megabytes * 1e6)
    for text in texts:
        if left <= 0:
            break
        out.append(text)
        left -= len(text)
    return out


def _density(rows: Sequence[Any], texts: Sequence[bytes]) -> float:
    return sum(map(len, texts)) / sum(map(len, rows))


def _fastest(texts: Sequence[bytes], feedings: dict[str, Callable[[], Any]]) -> tuple[float, str]:
    """MB/s of the feeding that is quickest in one try each, and its name."""
    best = min(feedings, key=lambda name: median_seconds(feedings[name], 1))
    return sum(map(len, texts)) / 1e6 / median_seconds(feedings[best], REPEATS), best


def _our_speed(codec: Codec, texts: list[bytes]) -> Speed:
    joined = b"".join(texts)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    encode, feeding = _fastest(
        texts,
        {
            "one buffer": lambda: codec.encode_documents(joined, offsets),
            "list of documents": lambda: codec.encode_batch(texts),
            "one document": lambda: codec.encode(joined),
        },
    )
    codes = codec.encode(joined)
    decode, _ = _fastest(texts, {"codes": lambda: codec.decode(codes)})
    return Speed(encode, decode, feeding)


def _peer_speed(peer: Peer, texts: list[bytes]) -> Speed:
    feedings = {
        "list of documents": texts,
        "list of chunks": [chunk.encode() for chunk in chunks(texts)],
        "list of lines": [line for text in texts for line in text.splitlines(keepends=True)],
    }
    encode, feeding = _fastest(texts, {name: lambda fed=fed: peer.encode(fed) for name, fed in feedings.items()})
    rows = {name: peer.encode(fed) for name, fed in feedings.items()}
    decode, _ = _fastest(texts, {name: lambda tokens=tokens: peer.decode(tokens) for name, tokens in rows.items()})
    return Speed(encode, decode, feeding)


@compiled
def _sum(text):
    total = 0
    for byte in text:
        total += byte
    return total


def _bare_pass_mb_per_s(texts: Sequence[bytes]) -> float:
    text = np.frombuffer(b"".join(texts), np.uint8)
    return len(text) / median_seconds(lambda: _sum(text), REPEATS) / 1e6


def _threads_to_processes(codec: Codec, texts: list[bytes]) -> float:
    """Speed of one process with two threads over that of two processes, on the same amount of text."""
    joined = b"".join(texts)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    twice = joined + joined
    twice_offsets = np.concatenate([offsets, offsets[1:] + len(joined)])

    def by_threads() -> None:
        for _ in range(ROUNDS):
            codec.encode_documents(twice, twice_offsets, threads=2)

    with multiprocessing.get_context("spawn").Pool(2, _start_worker, (codec.to_bytes(), joined, offsets)) as pool:

        def by_processes() -> None:
            pool.map(_encode_in_worker, range(2), chunksize=1)

        ratios = [median_seconds(by_processes, 1) / median_seconds(by_threads, 1) for _ in range(REPEATS)]
    return float(np.median(ratios))


_worker: list[Any] = []


def _start_worker(codec: bytes, joined: bytes, offsets: np.ndarray) -> None:
    _worker[:] = [Codec.from_bytes(codec), joined, offsets]


def _encode_in_worker(_: int) -> None:
    codec, joined, offsets = _worker
    for _ in range(ROUNDS):
        codec.encode_documents(joined, offsets)
