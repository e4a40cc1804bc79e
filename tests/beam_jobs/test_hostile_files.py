"""Files that lie: bombs, lengths beyond any file, and names that lead out of their folder."""

import gzip
import json
import resource
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_jobs import readers, sharded, tfds, tfrecord
from beam_jobs.crc32c import TABLES, masked_crc_of_range
from beam_jobs.equal_info import dataset
from beam_jobs.records import DeadLetter
from beam_jobs.rest_em.datasets import load_problems
from beam_jobs.units import ReadConfig, find_sources, plan_units
from models.rest_em.records import Problem, to_lines
from shammie import inflate
from shammie.errors import UserError
from shammie.inflate import MOST_RATIO

FREE = 4 << 20  # here, so that bombs may be small


def met(path: Path, **settings: Any) -> tuple[int, list[DeadLetter]]:
    """Bytes of text and dead letters of a source; what is read is not kept."""
    config = ReadConfig(**settings)
    plan = plan_units(find_sources([str(path)], config), config)
    made, letters = 0, []
    for unit in plan.units:
        for item in readers.read_unit(plan, unit, config):
            if isinstance(item, DeadLetter):
                letters.append(item)
            else:
                made += len(item.text)
    return made, letters


@pytest.fixture(autouse=True)
def _little_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "FREE_BYTES", FREE)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """256 MiB of lines in 256 kB."""
    return gzip.compress(b"\n".join([b"x" * 1023] * (1 << 14)), 9, mtime=0) * 16


@pytest.mark.parametrize(
    ("name", "documents"),
    [("a.txt.gz", "line"), ("a.txt.gz", "file"), ("a.jsonl.gz", "line"), ("a.tfrecord.gz", "line")],
)
def test_a_gzip_bomb_is_stopped_in_little_memory(tmp_path: Path, bomb: bytes, name: str, documents: str) -> None:
    (tmp_path / name).write_bytes(bomb)
    tracemalloc.start()
    made, letters = met(tmp_path / name, documents=documents, max_example_bytes=1 << 22)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 << 20
    assert made < 100 << 20
    if name == "a.txt.gz":
        assert [letter.reason for letter in letters] == [f"gzip of over {MOST_RATIO} times its size, as only a bomb is"]
        assert letters[0].whole_source
    assert letters


def test_what_is_packed_well_is_no_bomb(tmp_path: Path) -> None:
    """Some hundred times smaller, and twice as large as what is free."""
    lines = b"".join(b"%06d %s\n" % (number % 1000, b"the same words again and again" * 30) for number in range(12_000))
    (tmp_path / "a.txt.gz").write_bytes(packed := gzip.compress(lines, 9, mtime=0))
    assert len(lines) > 2 * FREE
    assert 50 < len(lines) / len(packed) < MOST_RATIO
    assert met(tmp_path / "a.txt.gz") == (len(lines) - 12_000, [])


def test_many_gzip_members_take_no_more_time_than_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"x\n", mtime=0) * 100_000)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert met(tmp_path / "a.txt.gz") == (100_000, [])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < 20


def frame_of(size: int) -> bytes:
    """The header of a frame whose checksum is right, and some bytes."""
    told = np.frombuffer(struct.pack("<Q", size), np.uint8)
    return told.tobytes() + struct.pack("<I", int(masked_crc_of_range(TABLES, told, 0, 8))) + bytes(100)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (1 << 20, "truncated TFRecord"),
        ((2 << 30) + 1, "corrupt TFRecord header"),
        ((1 << 63) - 1, "corrupt TFRecord header"),
    ],
)
def test_a_length_beyond_the_file_is_not_read_for(tmp_path: Path, size: int, reason: str) -> None:
    good = tfrecord.frames([b""])
    (tmp_path / "a.tfrecord").write_bytes(good + frame_of(size))
    (tmp_path / "b.tfrecord.gz").write_bytes(gzip.compress(good + frame_of(size) + bytes(1 << 22), mtime=0))
    _, letters = met(tmp_path / "a.tfrecord")
    assert [(one.offset, one.reason) for one in letters] == [(0, "missing field"), (len(good), reason)]
    tracemalloc.start()
    _, letters = met(tmp_path / "b.tfrecord.gz", unit_bytes=1 << 16)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert letters[-1].whole_source or size < 1 << 22
    assert most < (8 << 20 if size > 2 << 30 else 100 << 20)


def test_a_released_file_that_is_a_bomb(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "gsm8k.jsonl.gz").write_bytes(bomb)
    with pytest.raises(UserError, match=f"damaged gzip: it unpacks to more than {MOST_RATIO} times its size"):
        load_problems(str(tmp_path / "gsm8k.jsonl.gz"), "gsm8k")


NAMES = ["../secret.jsonl", "/etc/passwd", "..", "a/../../secret.jsonl", "x\x00.jsonl", "y" * 300, "", 7, None]


def job(folder: Path, name: Any) -> str:
    folder.mkdir()
    data = to_lines([Problem(id="x", prompt="", verifier="number")])
    (folder / "part.jsonl").write_bytes(data)
    (folder.parent / "secret.jsonl").write_bytes(data)
    shard = {"name": name, "size": len(data), "sha256": "0" * 64}
    manifest = {"config": {}, "digest": "0" * 64, "shards": [shard], "counters": {}}
    (folder / sharded.MANIFEST).write_text(json.dumps(manifest))
    return str(folder)


def test_a_manifest_names_shards_of_its_folder(tmp_path: Path) -> None:
    assert [one.id for one in sharded.read_all(job(tmp_path / "job", "part.jsonl"), Problem)] == ["x"]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_that_names_others_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(UserError, match=r"cannot be a file's name"):
        sharded.read_all(job(tmp_path / "job", name), Problem)


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_that_names_others_is_refused(tmp_path: Path, name: Any) -> None:
    shard = {"name": name, "size": 0, "sha256": "0" * 64}
    (tmp_path / "manifest.train.json").write_text(json.dumps({"config": {"split": "train"}, "shards": [shard]}))
    with pytest.raises(UserError, match=r"cannot be a file's name"):
        dataset.read_manifest(str(tmp_path), "train")
    with pytest.raises(UserError, match=r"cannot be a file's name"):
        dataset.claim(str(tmp_path))


def prepared(folder: Path, template: str) -> str:
    """A dataset of TFDS whose split `train` has one shard, and a file beside it that is not its own."""
    home = folder / "talk" / "1.0.0"
    home.mkdir(parents=True)
    for path in (home / "talk-train.tfrecord-00000-of-00001", folder / "secret"):
        path.write_bytes(tfrecord.frames([b""]))
    split = {"name": "train", "filepathTemplate": template, "shardLengths": ["1"]}
    (home / tfds.INFO).write_text(json.dumps({"name": "talk", "splits": [split]}))
    (home / tfds.FEATURES).write_text(json.dumps({"featuresDict": {"features": {"text": {"text": {}}}}}))
    return f"tfds:talk:1.0.0@{folder}"


def test_a_template_of_tfds(tmp_path: Path) -> None:
    found = tfds.find(prepared(tmp_path, "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"))
    assert [one.path.rpartition("/")[2] for one in found.files] == ["talk-train.tfrecord-00000-of-00001"]


@pytest.mark.parametrize(
    "template",
    [
        "../../secret", "/etc/passwd", "{SPLIT:>999999999}", "{SPLIT.__class__.__mro__}", "{DATASET[0]}", "{}", "{0}",
        "{SPLIT!r}", "{MODEL}", "a//b", "\x00",
    ],
)  # fmt: skip
def test_a_template_of_tfds_that_leads_elsewhere_or_asks_for_more(tmp_path: Path, template: str) -> None:
    tracemalloc.start()
    with pytest.raises(UserError):
        tfds.find(prepared(tmp_path, template))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 << 20


def test_a_config_of_tfds_is_no_way_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config '\.\.' cannot be"):
        tfds.find(f"tfds:talk/..:1.0.0@{tmp_path}")
