"""The codec benchmark at toy size: every promised measure is there, the right way round."""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import pytest

from models.equal_info.codes import pruned
from workflows.bench import codec as bench
from workflows.bench.codec import Speed, _against
from workflows.peers import all_peers

pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytest.importorskip("tiktoken")


def test_ratios_are_ours_over_theirs() -> None:
    targets = {t.what: t for t in _against("tiktoken", 4096, Speed(100.0, 900.0, ""), Speed(20.0, 100.0, ""), 1.5)}
    assert targets["encode / tiktoken 4096"].measured == 5.0
    assert targets["encode / tiktoken 4096"].reached
    assert targets["decode / tiktoken 4096"].measured == 9.0
    assert not targets["decode / tiktoken 4096"].reached
    (density,) = [
        t for t in _against("HF byte-level BPE", 9, Speed(1, 1, ""), Speed(1, 1, ""), 1.19) if "bytes" in t.what
    ]
    assert (density.measured, density.target, density.reached) == (1.19, 1.2, False)


def test_every_measure_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruned, "MOST_PROPOSED", 70_000)
    monkeypatch.setattr(pruned, "MOST_REGROWTHS", 1)
    monkeypatch.setattr(bench, "REPEATS", 1)
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    words = ["--m1_steps", "20", "--train_mb", "0.3", "--speed_mb", "0.1", "--vocab_sizes", "512"]
    table = bench.run(parser.parse_args(words))
    rows = {row[0]: row for row in table.rows}
    peers = [
        "SentencePiece BPE 512",
        "SentencePiece BPE crossing words 512",
        "SentencePiece Unigram 512",
        "HF byte-level BPE 512",
        "tiktoken 512",
    ]
    assert list(rows) == ["greedy-65536", "delay-65536", "full-65536", "pruned-65536", "pruned-512", *peers]
    targets = {target.what: target for target in table.targets}
    assert all(math.isfinite(target.measured) and target.measured > 0 for target in targets.values())
    wanted = {f"decode / {peer}": 10.0 for peer in peers} | {
        "encode / SentencePiece BPE 512": 25.0,
        "encode / HF byte-level BPE 512": 25.0,
        "encode / SentencePiece Unigram 512": 12.0,
        "encode / tiktoken 512": 4.0,
        "pruned-512 / SentencePiece BPE 512, bytes per token": 1.2,
        "pruned-512 / HF byte-level BPE 512, bytes per token": 1.2,
        "pruned-512 / SentencePiece BPE crossing words 512, bytes per token": 1.1,
        "full / greedy, bytes per token": 1.1,
        "pruned / greedy, bytes per token": 1.25,
        "slowest compile, s": 60.0,
        "encode, MB/s": 100.0,
        "decode, MB/s": 250.0,
        "two threads / two processes, encode": 0.95,
    }
    assert {what: target.target for what, target in targets.items()} == wanted
    assert {what for what, target in targets.items() if target.better == "less"} == {"slowest compile, s"}
    ratio = float(rows["full-65536"][2]) / float(rows["greedy-65536"][2])
    assert targets["full / greedy, bytes per token"].measured == pytest.approx(ratio, rel=1e-3)


def test_peers_use_one_thread() -> None:
    text = Path(np.__file__).read_bytes() * 40
    for peer in all_peers([text], 400):
        peer.encode([text] * 4)
        wall, cpu = time.perf_counter(), time.process_time()
        rows = peer.encode([text] * 4)
        peer.decode(rows)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert cpu < 1.3 * wall + 0.02, peer.name
