import hashlib
import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline

from beam_jobs.equal_info.config import JobConfig
from beam_jobs.units import ReadConfig
from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings

# Beam's default first tries a download
TestPipeline.pytest_test_pipeline_options = "--runner=FnApiRunner"  # pyright: ignore[reportAttributeAccessIssue]

WORDS = [b"the", b" the", b"and", b" and", b"ing", b"return", b"self", b"    ", b"def ", b"import ", b"er", b"in"]


def small_codec(words=WORDS) -> Codec:
    strings = sorted({bytes([byte]) for byte in range(256)} | set(words))
    return Codec(dictionary_of_strings(strings), scheme="pruned")


@pytest.fixture(scope="session")
def codec() -> Codec:
    return small_codec()


@pytest.fixture(scope="session")
def codec_path(codec, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("codec") / "small.codec"
    codec.save(str(path))
    return str(path)


@pytest.fixture(scope="session")
def texts() -> list[bytes]:
    """A few hundred documents without line breaks; some are not UTF-8, one is long, some are alike."""
    chance = random.Random(0)
    found = [b" ".join(chance.choices(WORDS, k=chance.randint(1, 60))).replace(b"\n", b" ") for _ in range(400)]
    found += [bytes(chance.choices([b for b in range(256) if b != 10], k=50)) for _ in range(20)]
    return found + [b"x" * 5000, b"same", b"same", bytes(range(9)) + bytes(range(11, 256))]


@pytest.fixture
def text_file(tmp_path, texts) -> Path:
    path = tmp_path / "in" / "text.txt"
    path.parent.mkdir()
    path.write_bytes(b"\n".join(texts) + b"\n")
    return path


@pytest.fixture
def job(codec_path, tmp_path):
    """Makes a JobConfig; the read settings may be given by name too."""

    def make(*inputs, output="out", **settings) -> JobConfig:
        names = ("format", "documents", "text_field", "unit_bytes", "max_example_bytes")
        read = {name: settings.pop(name) for name in names if name in settings}
        read.setdefault("unit_bytes", 4000)
        settings.setdefault("num_shards", 3)
        return JobConfig(
            input=tuple(map(str, inputs)),
            output=str(tmp_path / output),
            codec=settings.pop("codec", codec_path),
            read=ReadConfig(**read),
            **settings,
        )

    return make


def hashes(folder, suffix="") -> dict[str, str]:
    """sha256 of every data file; those that begin with a dot are this machine's."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob(f"*{suffix}"))
        if path.is_file() and not path.name.startswith(".")
    }


def parse_example(record: bytes) -> dict[str, list[int]]:
    """An independent reader of int64 features: the recursive definition of protocol buffers."""

    def fields(data):
        at = 0
        while at < len(data):
            tag, at = varint(data, at)
            size, at = varint(data, at)
            assert tag & 7 == 2
            yield tag >> 3, data[at : at + size]
            at += size
        assert at == len(data)

    def varint(data, at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at

    ((_, features),) = fields(record)
    found = {}
    for _, entry in fields(features):
        key, feature = [value for _, value in fields(entry)]
        ((kind, values),) = fields(feature)
        assert kind == 3
        numbers, at = [], 0
        packed = next(fields(values))[1] if values else b""
        while at < len(packed):
            number, at = varint(packed, at)
            numbers.append(number)
        found[key.decode()] = numbers
    return found


def read_shards(result) -> list[dict[str, list[int]]]:
    from beam_jobs import tfrecord

    examples = []
    for shard in result.manifest["shards"]:
        data = np.fromfile(Path(result.output) / shard["name"], np.uint8)
        found = tfrecord.scan(data)
        assert found.state == tfrecord.GOOD
        assert not found.states.any()
        for start, end in zip(found.starts, found.ends, strict=True):
            examples.append(parse_example(data[start:end].tobytes()))
    return examples


def decoded(result, codec) -> list[bytes]:
    """All documents of a dataset; continuations are joined by their order in the shards."""
    from models.equal_info.ids import END_OF_DOCUMENT_ID, codes_of_ids

    documents, open_pieces = [], []
    for example in read_shards(result):
        ids = example["targets"]
        assert example.get("continuation", [0])[0] == len(open_pieces)
        open_pieces.append(codec.decode(codes_of_ids(ids)))
        if ids and ids[-1] == END_OF_DOCUMENT_ID:
            documents.append(b"".join(open_pieces))
            open_pieces = []
    assert not open_pieces
    return documents


def dead_letters(result) -> list[dict]:
    path = Path(result.output) / f"dead_letters.{result.split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The helpers above, for test modules (which pytest imports without a package)."""
    return SimpleNamespace(
        hashes=hashes,
        parse_example=parse_example,
        read_shards=read_shards,
        decoded=decoded,
        dead_letters=dead_letters,
        small_codec=small_codec,
    )
