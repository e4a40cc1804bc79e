"""Corpora and datasets: whatever lies in a file, a reader sets it aside and goes on."""

import gzip
import io
import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from beam_jobs import read_examples, readers, tfds, tfrecord
from beam_jobs.crc32c import TABLES, masked_crc_of_range
from beam_jobs.records import DeadLetter
from beam_jobs.units import ReadConfig, find_sources, plan_units
from shammie.errors import UserError
from tests.fuzz.loop import Case
from tests.fuzz.mutation import mutated, mutated_json_bytes
from tests.fuzz.shapes import file_of, folder

TEXTS = ["the first", "é", "", "a longer text " * 20, "last"]


def example(name: bytes, text: bytes) -> bytes:
    """A tf.train.Example of one bytes feature; all below 16 kB."""

    def part(tag: int, value: bytes) -> bytes:
        size = len(value)
        return bytes([tag, *([size] if size < 128 else [size & 127 | 128, size >> 7])]) + value

    return part(10, part(10, part(10, name) + part(18, part(10, part(10, text)))))


def _read(name: str, **settings: Any) -> Callable[[bytes], str]:
    config = ReadConfig(unit_bytes=4096, max_example_bytes=1 << 16, **settings)

    def parse(data: bytes) -> str:
        path = file_of(data or b"\n", name)
        met: set[str] = set()
        plan = plan_units(find_sources([path], config), config)
        for unit in plan.units:
            for item in readers.read_unit(plan, unit, config):
                if isinstance(item, DeadLetter):
                    assert len(item.reason) < 1000, "a reason of no use"
                    met.add(item.reason)
                    continue
                assert item.bounds[0] >= 0, "a document before its text"
                assert np.all(np.diff(item.bounds) >= 0), "documents that overlap"
                assert item.bounds[-1] <= len(item.text), "a document beyond its text"
                assert len(item.bounds) == len(item.offsets) + 1, "a document without a place"
                item.text[item.bounds[0] : item.bounds[-1]].tobytes()
        return "; ".join(sorted(met))

    return parse


def _lines() -> list[bytes]:
    return ["\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS).encode()]


def _frames() -> list[bytes]:
    return [tfrecord.frames([example(b"text", text.encode()) for text in TEXTS] + [b""])]


def _sealed_frames(data: bytes) -> bytes:
    """As many frames as their lengths tell of, with checksums that are right, and what is left."""
    records, at = [], 0
    while at + tfrecord.FRAME_BYTES <= len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        if size > len(data) - at - tfrecord.FRAME_BYTES:
            break
        records.append(data[at + 12 : at + 12 + size])
        at += size + tfrecord.FRAME_BYTES
    return tfrecord.frames(records) + data[at:]


def _long_frame(data: bytes, random: Random) -> bytes:
    """Frames with checksums that are right for lengths that are not."""
    size = random.choice((1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
    told = np.frombuffer(size.to_bytes(8, "little"), np.uint8)
    crc = int(masked_crc_of_range(TABLES, told, 0, 8))
    frame = told.tobytes() + crc.to_bytes(4, "little") + bytes(8)
    at = random.choice((0, len(_frames()[0])))
    return data[:at] + frame[: random.choice((12, 16, 20))] + data[at:]


def _gzips(data: list[bytes]) -> list[bytes]:
    return [gzip.compress(one, mtime=0) + gzip.compress(one, mtime=0) for one in data]


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(1 << 21), mtime=0)


def _changed_gzip(data: bytes, random: Random) -> bytes:
    kind = random.randrange(4)
    if kind == 0:
        return _bomb()
    if kind == 1:
        return gzip.compress(b"", mtime=0) * 500 + data
    try:
        plain = gzip.decompress(data)[: 1 << 18]
    except (OSError, EOFError, ValueError):
        return data
    except Exception:  # zlib's own
        return data
    return gzip.compress(mutated(plain, [], [], random), mtime=0)


def _parquets() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    column: Any = pa.array([*TEXTS, None])
    plain = {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"}
    ways: list[dict[str, Any]] = [{"compression": "zstd"}, plain]
    for one in (column, column.dictionary_encode(), column.cast(pa.large_binary())):
        for how in ways:
            sink = io.BytesIO()
            pq.write_table(pa.table({"n": pa.array(range(6)), "text": one}), sink, row_group_size=4, **how)
            found.append(sink.getvalue())
    return found


def _array_records() -> list[bytes]:
    from array_record.python.array_record_module import ArrayRecordWriter

    found = []
    for options in ("group_size:1", "group_size:3,zstd:3", "group_size:2,uncompressed"):
        path = str(folder() / "seed.array_record")
        writer = ArrayRecordWriter(path, options)
        for text in TEXTS:
            writer.write(example(b"text", text.encode()))
        writer.close()
        found.append((folder() / "seed.array_record").read_bytes())
    return found


def texts() -> list[Case]:
    """Lines of text and JSON, plain and gzipped."""
    return [
        Case("text", lambda: [b"one\ntwo\n\nlast"], _read("a.txt"), strategy=st.binary(max_size=500)),
        Case("text_file", lambda: [b"one\ntwo"], _read("b.txt", documents="file"), words=(b"\x1f\x8b",)),
        Case("gzip", lambda: _gzips([b"one\ntwo\n\nlast"]), _read("a.txt.gz"), change=_changed_gzip, batch=100),
        Case(
            "gzip_file", lambda: _gzips([b"one"]), _read("b.txt.gz", documents="file"), change=_changed_gzip, batch=100
        ),
        Case(
            "jsonl",
            _lines,
            _read("a.jsonl"),
            words=(b"\n", b'"text"', b"[" * 3000, b"\\ud800", b'{"text":', b"\xff", b"9" * 5000),
            change=lambda data, random: b"\n".join(mutated_json_bytes(line, random) for line in data.split(b"\n")),
            strategy=st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "n", ""]), inner),
            ).map(lambda value: json.dumps(value).encode()),
        ),
    ]


def parquet() -> list[Case]:
    """Parquet, as a source and as its plan."""
    return [Case("parquet", _parquets, _read("a.parquet"), words=(b"PAR1", b"\x15\x04", b"\xff" * 8), batch=100)]


def tfrecords() -> list[Case]:
    """TFRecord and the examples in it, ours and others'."""
    targets = [example(b"targets", b"")]

    def int64(data: bytes) -> None:
        array = np.frombuffer(data, np.uint8)
        read_examples.int64_values(array, np.zeros(1, np.int64), np.array([len(array)]), "targets")

    packed = b"\x0a\x19\x0a\x17\x0a\x07targets\x12\x0c\x1a\x0a\x0a\x08\x01\x02\x96\x01\xff\xff\x03\x04"
    return [
        Case("tfrecord", _frames, _read("a.tfrecord"), change=_long_frame, seal=_sealed_frames),
        Case("tfrecord_gzip", lambda: _gzips(_frames()), _read("a.tfrecord.gz"), change=_changed_gzip, batch=100),
        Case("int64", lambda: [packed], int64, (ValueError,), words=tuple(targets), strategy=st.binary(max_size=60)),
        Case(
            "shard",
            lambda: [tfrecord.frames([packed, packed])],
            lambda data: list(read_examples.read_targets(file_of(data, "x.tfrecord-00000-of-00001"))),
            seal=_sealed_frames,
        ),
    ]


def array_records() -> list[Case]:
    """ArrayRecord, which a library in C++ reads."""
    return [Case("array_record", _array_records, _read("a.array_record"), batch=50)]


def tfds_infos() -> list[Case]:
    """What TFDS tells of a prepared dataset."""
    home = folder() / "talk" / "1.0.0"
    home.mkdir(parents=True, exist_ok=True)
    (home / "talk-train.tfrecord-00000-of-00001").write_bytes(_frames()[0])
    features = {"featuresDict": {"features": {"text": {"text": {}}, "n": {"tensor": {"dtype": "int64", "shape": {}}}}}}
    split = {
        "name": "train",
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "shardLengths": ["5"],
    }
    told = {"info": {"name": "talk", "fileFormat": "tfrecord", "splits": [split]}, "features": features}

    def parse(data: bytes) -> None:
        try:
            both = json.loads(data)
            info, about = both["info"], both["features"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        (home / tfds.INFO).write_bytes(json.dumps(info).encode())
        (home / tfds.FEATURES).write_bytes(json.dumps(about).encode())
        found = tfds.find(f"tfds:talk:1.0.0@{folder()}")
        assert all(one.path.startswith(str(home) + "/") and ".." not in one.path for one in found.files), "outside"

    words = (b"{SPLIT:>999999999}", b"{DATASET.__class__}", b"../", b"{}", b"{0}", b"%", b"{SHARD_INDEX!r}")
    return [
        Case(
            "tfds", lambda: [json.dumps(told).encode()], parse, (UserError,), mutated_json_bytes, words=words, batch=50
        )
    ]
