"""The job with codecs whose tokens are no dictionary: streams of compressed bits."""

from pathlib import Path

import jax
import numpy as np
import pytest

from beam_jobs.equal_info.job import run
from models.equal_info.load import codec_of_bytes
from models.equal_info.m1 import M1Config, train_m1
from models.equal_info.streams.build import stream_codec
from models.equal_info.streams.codec import StreamCodec
from models.equal_info.streams.spec import StreamSpec
from seqio_tasks.equal_info import add_task, task_name
from seqio_tasks.vocabularies import CodecVocabulary
from shammie.errors import UserError


@pytest.fixture(scope="module")
def streams(texts, tmp_path_factory) -> dict[str, tuple[StreamCodec, str]]:
    """Codecs and their paths."""
    data, home = np.frombuffer(b"\n".join(texts), np.uint8), tmp_path_factory.mktemp("streams")
    m1 = train_m1(M1Config(width=16, steps=20, batch=32), data, jax.random.key(0))
    found = {}
    for spec in (StreamSpec("windows", 8, 24), StreamSpec("gzip", 16), StreamSpec("ac", 8)):
        codec = stream_codec(spec, m1=m1)
        path = str(home / f"{codec.scheme}.codec")
        codec.save(path)
        found[str(spec)] = codec, path
    return found


@pytest.mark.parametrize("method", ["windows:24/8", "gzip/16", "ac/8"])
def test_text_to_shards_to_seqio_and_back(job, text_file, texts, streams, kit, method):
    codec, path = streams[method]
    result = run(job(text_file, codec=path))
    assert sorted(kit.decoded(result, codec)) == sorted(texts)
    config = result.manifest["config"]
    assert (config["codec_stream"], config["codec_window_bits"]) == (method, codec.window_bits)
    assert (config["codec_scheme"], config["codec_vocab_size"]) == (codec.scheme, codec.vocab_size)
    assert config["codec_fingerprint"] == codec.fingerprint
    card = (Path(result.output) / "README.md").read_text()
    assert f"Text compressed to the stream `{method}`" in card
    assert ("windows of 24 bits" in card) == (method == "windows:24/8")
    stored = codec_of_bytes((Path(result.output) / "equal_info.codec").read_bytes())
    assert stored.fingerprint == codec.fingerprint

    task = add_task(result.output)
    assert task.name == task_name(codec) == f"equal_info_{method.replace(':', '_').replace('/', '_')}_v001"
    vocabulary = task.output_features["targets"].vocabulary
    assert isinstance(vocabulary, CodecVocabulary)
    rows = [row["targets"] for row in task.get_dataset(split="train", shuffle=False).as_numpy_iterator()]
    assert sorted(vocabulary.decode_bytes(row) for row in rows) == sorted(texts)
    longest = max(rows, key=len)
    assert vocabulary.vocab_size == codec.vocab_size + 2
    start = vocabulary.decode_bytes(longest[: len(longest) // 2])  # as a model's output may be cut
    assert vocabulary.decode_bytes(longest).startswith(start)
    vocabulary.decode_bytes(np.random.default_rng(0).integers(2, vocabulary.vocab_size, 50))


def test_long_documents_and_fixed_sizes(job, text_file, texts, streams, kit):
    codec, path = streams["windows:24/8"]
    result = run(job(text_file, codec=path, max_example_bytes=300))
    assert sorted(kit.decoded(result, codec)) == sorted(texts)
    sized = run(job(text_file, output="sized", codec=path, example_bytes=500, group_documents=16))
    assert sized.stats["text_bytes"] == sum(map(len, texts))


def test_one_output_has_one_codec(job, text_file, streams):
    run(job(text_file, codec=streams["gzip/16"][1]))
    with pytest.raises(UserError, match="holds split train encoded with another codec"):
        run(job(text_file, codec=streams["ac/8"][1], split="test"))
