"""Seq2seq probes: rows by hand, what counts, and a task that a small model can learn."""

from pathlib import Path

import numpy as np
import pytest

from models.equal_info.ids import END_OF_DOCUMENT_ID
from models.equal_info.streams.build import stream_codec
from models.equal_info.streams.spec import StreamSpec
from models.lm import LMConfig
from models.training import OptimizerConfig
from shammie.errors import UserError
from shammie.files import read_json
from workflows import equal_info_probes
from workflows.dag import Running, Step
from workflows.equal_info_examples import spread
from workflows.equal_info_probes import ProbeSettings, method_of, rows_of
from workflows.parquet_corpus import CorpusWriter
from workflows.tokenizers import Tokenizer, of_stream

DOUBLE = Tokenizer(  # each byte twice: ids 2 to 257
    "double",
    258,
    "double",
    lambda texts: [np.repeat(np.frombuffer(text, np.uint8), 2).astype(np.int32) + 2 for text in texts],
    lambda ids: bytes((ids[::2] - 2).astype(np.uint8)),
)


def test_decompression_reads_tokens_and_writes_bytes_in_ids_of_their_own() -> None:
    rows = rows_of("decompress double", DOUBLE, [b"\x00\x01", b"\x05\xff"])
    assert rows.ids.tolist() == [[2, 2, 3, 3, 1, 258, 259], [7, 7, 257, 257, 1, 263, 513]]
    assert (rows.vocab_size, rows.predicted_from) == (514, 258)


def test_compression_is_the_other_way_round_and_bytes_have_no_source() -> None:
    rows = rows_of("compress double", DOUBLE, [b"\x00\x01"])
    assert rows.ids.tolist() == [[2, 3, 1, 258, 258, 259, 259]]
    assert (rows.vocab_size, rows.predicted_from) == (514, 258)
    alone = rows_of("bytes", None, [b"\x00\xff"])
    assert alone.ids.tolist() == [[1, 2, 257]]
    assert (alone.vocab_size, alone.predicted_from) == (258, 2)


def test_rows_are_as_long_as_the_longest_and_all_texts_are_kept() -> None:
    gzip = of_stream("gzip/8", stream_codec(StreamSpec("gzip", 8)))
    texts = [b"a" * 40, bytes(range(40))]
    sizes = [len(ids) + 1 + 40 for ids in gzip.encode(texts)]
    rows = rows_of("decompress gzip/8", gzip, texts)
    assert rows.ids.shape == (2, max(sizes))
    assert rows.ids[0, sizes[0] :].tolist() == [END_OF_DOCUMENT_ID] * (max(sizes) - sizes[0])
    wider = rows.widened(max(sizes) + 3)
    assert wider.ids[:, : max(sizes)].tolist() == rows.ids.tolist()
    assert wider.ids[:, max(sizes) :].tolist() == [[END_OF_DOCUMENT_ID] * 3] * 2


def test_what_only_tells_a_texts_length_is_no_target() -> None:
    """Texts of a probe have one size: an arithmetic coder's trailer would be the same in every row."""
    text = np.random.default_rng(0).integers(97, 101, (50, 64)).astype(np.uint8)
    for bits in (8, 16):
        codec = stream_codec(StreamSpec("static_ac", bits), text=text.reshape(-1))
        tokenizer = of_stream(f"static_ac/{bits}", codec)
        rows = rows_of(f"compress static_ac/{bits}", tokenizer, [row.tobytes() for row in text])
        targets = [row[row >= rows.predicted_from] for row in rows.ids]
        assert len({tuple(one[-2:]) for one in targets}) > 10
        whole = tokenizer.encode([text[0].tobytes()])[0]
        assert len(targets[0]) == len(whole) - 32 // bits
        assert tokenizer.bodies([b""])[0].tolist() == []


def test_texts_come_from_all_of_a_split() -> None:
    assert spread(list(range(100)), 4) == [0, 33, 66, 99]
    assert spread([5, 6], 9) == [5, 6]


@pytest.mark.parametrize("task", ["decompres ac/8", "compress", "decompress ", "byte"])
def test_wrong_tasks_are_one_line(task: str) -> None:
    with pytest.raises(UserError, match="is no probe; write decompress METHOD"):
        ProbeSettings(tasks=(task,))
    assert method_of("bytes") is None
    assert method_of("compress ac/8") == "ac/8"


@pytest.mark.slow
def test_a_code_that_says_each_byte_is_decompressed_and_random_bytes_alone_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight letters at random: alone 1 in 8 is guessed; reading them doubled, all can be told."""
    from workflows import equal_info_table_steps

    monkeypatch.setattr(equal_info_table_steps, "tokenizer_of", lambda *_: DOUBLE)
    monkeypatch.setattr(equal_info_probes, "vocab_size_of", lambda _: 258)
    letters = np.frombuffer(b"abcdefgh", np.uint8)
    with CorpusWriter(str(tmp_path)) as writer:
        for split, size in (("train", 40_000), ("test", 1000)):
            writer.write(split, split, letters[np.random.default_rng(size).integers(0, 8, size)].tobytes())
    model = LMConfig(width=32, layers=2, heads=2, head_width=16, mlp_width=64, max_distance=32)
    settings = ProbeSettings(
        model=model,
        optimizer=OptimizerConfig(learning_rate=1e-2),
        text_bytes=8,
        steps=900,
        batch_size=32,
        curve_points=2,
    )
    told = {}
    for task in ("bytes", "decompress double"):
        step = Step("probe", equal_info_probes.run, config={"task": task, "probes": settings.to_json()})
        folder = tmp_path / task.split()[0]
        folder.mkdir()
        equal_info_probes.run(Running(step, str(folder), {"corpus": str(tmp_path), "examples": ""}))
        told[task] = read_json(str(folder / "probe.json"))
    assert told["bytes"]["accuracy"] == pytest.approx(1 / 8, abs=0.05)
    assert told["bytes"]["nats"] == pytest.approx(np.log(8), abs=0.15)
    assert told["decompress double"]["accuracy"] > 0.9
    assert [point[0] for point in told["bytes"]["curve"]] == [450, 900]
    assert told["bytes"]["chance_nats"] == pytest.approx(np.log(256))
