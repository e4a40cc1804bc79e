"""The job with the paper's baselines, bytes and SentencePiece: text to shards, SeqIO, bits per byte and back."""

from pathlib import Path

import numpy as np
import pytest

from beam_jobs.equal_info.estimate import estimate
from beam_jobs.equal_info.job import run
from models.equal_info.ids import codes_of_ids
from models.equal_info.load import AnyCodec, load_codec
from models.equal_info.sentencepieces import SentencePieceCodec, train_sentencepiece
from seqio_tasks.equal_info import add_task
from seqio_tasks.lm import add_examples_task, add_lm_task
from seqio_tasks.vocabularies import CodecVocabulary
from shammie.errors import UserError

pytest.importorskip("sentencepiece")
METHODS = ["bytes", "sentencepiece_unigram"]


@pytest.fixture(scope="module")
def codecs(texts, tmp_path_factory) -> dict[str, tuple[AnyCodec, str]]:
    """Codecs and what --codec calls them."""
    path = str(tmp_path_factory.mktemp("plain") / "unigram.codec")
    unigram = SentencePieceCodec(train_sentencepiece("unigram", [b"\n".join(texts[:400])], 320))
    unigram.save(path)
    return {"bytes": (load_codec("bytes"), "bytes"), "sentencepiece_unigram": (unigram, path)}


@pytest.mark.parametrize("method", METHODS)
def test_text_to_shards_to_seqio_and_back(job, text_file, texts, codecs, kit, own_cache, method) -> None:
    codec, name = codecs[method]
    result = run(job(text_file, codec=name))
    assert sorted(kit.decoded(result, codec)) == sorted(texts)  # some are no UTF-8
    assert result.stats["dead_letters"] == {}
    config = result.manifest["config"]
    assert (config["codec_scheme"], config["codec_vocab_size"]) == (method, codec.vocab_size)
    assert config["codec_fingerprint"] == codec.fingerprint
    assert "codec_stream" not in config
    assert load_codec(str(Path(result.output) / "equal_info.codec")).fingerprint == codec.fingerprint
    card = (Path(result.output) / "README.md").read_text()
    assert f"Text read by `{method}`, {codec.vocab_size} tokens" in card
    tokens = result.stats["targets_tokens"] - result.stats["end_ids"]
    assert tokens == sum(len(row) for row in codec.encode_batch(texts))

    task = add_task(result.output)
    assert task.name == f"equal_info_{method}_{codec.vocab_size}_v001"
    vocabulary = task.output_features["targets"].vocabulary
    assert isinstance(vocabulary, CodecVocabulary)
    assert vocabulary.vocab_size == codec.vocab_size + 2
    rows = [row["targets"] for row in task.get_dataset(split="train", shuffle=False).as_numpy_iterator()]
    assert sorted(vocabulary.decode_bytes(row) for row in rows) == sorted(texts)
    assert vocabulary.decode([*vocabulary.encode("the é"), codec.vocab_size + 2, 2, 1, 7]).strip("\0") == "the é"

    lm, examples = add_lm_task(result.output, length=16), add_examples_task(result.output)
    windows = [row["targets"] for row in lm.get_dataset(split="train", shuffle=False).as_numpy_iterator()]
    rows = [row["targets"] for row in examples.get_dataset(split="train", shuffle=False).as_numpy_iterator()]
    assert {len(row) for row in windows} == {16}
    for task, targets in ((lm, windows[:40]), (examples, rows)):
        size = sum(len(codec.decode((row[row > 1] - 2).astype(np.int64))) for row in targets)
        if task is examples:
            assert size == sum(map(len, texts))
        (metric,) = task.metric_fns
        scores = [-np.log(2)] * len(targets)  # a bit an example
        assert metric(targets, scores=scores) == {"bits_per_byte": pytest.approx(len(targets) / size, rel=1e-9)}


@pytest.mark.parametrize("method", METHODS)
def test_examples_that_cut_characters_lose_nothing(job, tmp_path, codecs, kit, method) -> None:
    codec, name = codecs[method]
    texts = ["日本語のé text ".encode() * count for count in range(1, 40)]
    path = tmp_path / "japanese.txt"
    path.write_bytes(b"\n".join(texts))
    result = run(job(path, codec=name, example_bytes=101, group_documents=len(texts), unit_bytes=1 << 20))
    assert result.stats["text_bytes"] == sum(map(len, texts))
    assert result.stats["documents"] == len(texts)
    pieces = [codec.decode(codes_of_ids([i for i in one["targets"] if i > 1])) for one in kit.read_shards(result)]
    assert sorted(b"".join(pieces)) == sorted(b"".join(texts))
    assert any(b"\xff" not in piece and piece.decode(errors="replace").count("\ufffd") for piece in pieces)
    continued = run(job(path, output="long", codec=name, max_example_bytes=100))
    assert sorted(kit.decoded(continued, codec)) == sorted(texts)


def test_a_dry_run_and_an_unknown_codec(job, text_file, texts) -> None:
    started = {f"{word}_{what}": 1.0 for word in ("one", "two") for what in ("seconds", "core_seconds")}
    found = estimate(job(text_file, codec="bytes", unit_bytes=1 << 20), start=lambda: started)
    assert found["targets_tokens"] == sum(map(len, texts)) + len(texts)
    with pytest.raises(UserError, match=r"codec bites does not exist; check --codec: a file, default .*, or bytes"):
        run(job(text_file, codec="bites"))
