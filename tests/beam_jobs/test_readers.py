import gzip
import json
import os

import numpy as np
import pytest

from beam_jobs import readers, tfrecord
from beam_jobs.records import DeadLetter
from beam_jobs.units import ReadConfig, find_sources, plan_units
from shammie.errors import UserError


def read(paths, **settings):
    """All documents as (source name, offset, text), and all dead letters as (source, offset, reason)."""
    config = ReadConfig(**{"unit_bytes": 1000, **settings})
    plan = plan_units(find_sources([str(path) for path in paths], config), config)
    documents, letters, pieces = [], [], []
    for unit in plan.units:
        for item in readers.read_unit(plan, unit, config):
            if isinstance(item, DeadLetter):
                letters.append((item.source, item.offset, item.reason))
                continue
            for row, offset in enumerate(item.offsets.tolist()):
                pieces.append(item.text[item.bounds[row] : item.bounds[row + 1]].tobytes())
                if item.last[row]:
                    name = plan.sources[item.sources[row]].name
                    documents.append((name, offset, b"".join(pieces)))
                    pieces = []
    return documents, letters


def test_text_lines_and_gzip_give_the_same_documents(tmp_path, texts):
    (tmp_path / "a.txt").write_bytes(b"\n".join(texts))
    (tmp_path / "b.txt.gz").write_bytes(
        gzip.compress(b"\n".join(texts[:200]) + b"\n") + gzip.compress(b"\n".join(texts[200:]))
    )
    documents, letters = read([tmp_path / "*"])
    assert not letters
    assert [text for name, _, text in documents if name == "a.txt"] == texts
    assert [text for name, _, text in documents if name == "b.txt.gz"] == texts
    assert documents[1][1] == len(texts[0]) + 1


def test_files_as_documents(tmp_path, texts):
    for number, text in enumerate(texts[:50]):
        (tmp_path / f"{number:03d}.txt").write_bytes(text + b"\nmore")
    (tmp_path / "050.txt.gz").write_bytes(gzip.compress(b"packed" * 1000))
    documents, letters = read([tmp_path], documents="file", max_example_bytes=100)
    assert not letters
    assert [text for _, _, text in documents] == [text + b"\nmore" for text in texts[:50]] + [b"packed" * 1000]


def test_jsonl_bad_records_are_set_aside_exactly(tmp_path):
    rows = [
        (b'{"text": "good \\u00e9"}', None),
        (b'{"text": "cut', "invalid JSON"),
        (b'["text"]', "not a JSON object"),
        (b'{"other": "x"}', "missing field"),
        (b'{"text": 7}', "not a string"),
        (b'{"text": "\\ud800"}', "not valid Unicode"),
        (b"\xff\xfe", "invalid JSON"),
        (b"", None),
        (b'{"text": "last"}', None),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(line for line, _ in rows))
    offsets = np.cumsum([0] + [len(line) + 1 for line, _ in rows]).tolist()
    for unit_bytes in (7, 1000):
        documents, letters = read([tmp_path / "a.jsonl"], unit_bytes=unit_bytes)
        assert [text for _, _, text in documents] == ["good é".encode(), b"last"]
        assert letters == [("a.jsonl", offsets[i], reason) for i, (_, reason) in enumerate(rows) if reason]


def test_jsonl_of_another_field_and_long_documents(tmp_path):
    text = "é" * 300
    (tmp_path / "a.jsonl").write_text(json.dumps({"body": text}) + "\n" + json.dumps({"body": "b"}) + "\n")
    documents, letters = read([tmp_path / "a.jsonl"], text_field="body", max_example_bytes=250)
    assert not letters
    assert [text for _, _, text in documents] == [text.encode(), b"b"]
    _, letters = read([tmp_path / "a.jsonl"], text_field="body", max_example_bytes=100)
    assert [letter[2] for letter in letters] == ["line too long"]


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "dictionary"])
def test_parquet(tmp_path, kind):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    values = [f"row {i} é" if i % 7 else None for i in range(500)]
    types = {"string": pa.string(), "large_string": pa.large_string(), "binary": pa.binary()}
    column = pa.array(values).dictionary_encode() if kind == "dictionary" else pa.array(values, types[kind])
    pq.write_table(pa.table({"n": list(range(500)), "text": column}), tmp_path / "a.parquet", row_group_size=60)
    documents, letters = read([tmp_path / "a.parquet"], unit_bytes=300)
    assert [(offset, text.decode()) for _, offset, text in documents] == [(i, v) for i, v in enumerate(values) if v]
    assert letters == [("a.parquet", i, "missing field") for i, v in enumerate(values) if v is None]


def test_parquet_errors(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"body": ["x"], "number": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column 'text', only body, number; name one by --text_field"):
        read([tmp_path / "a.parquet"])
    _, letters = read([tmp_path / "a.parquet"], text_field="number")
    assert "not text" in letters[0][2]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nonsense")
    documents, letters = read([tmp_path / "b.parquet"])
    assert not documents
    assert letters[0][2].startswith("corrupt Parquet")


def example(key: bytes, text: bytes) -> bytes:
    size = lambda value: bytes([len(value)]) + value  # noqa: E731  (below 128 bytes)
    feature = b"\x0a" + size(b"\x0a" + size(text))
    entry = b"\x0a" + size(key) + b"\x12" + size(feature)
    return b"\x0a" + size(b"\x0a" + size(entry))


def test_tfrecord_good_bad_and_truncated(tmp_path, texts):
    small = [text for text in texts if 0 < len(text) < 80]
    records = [example(b"text", text) for text in small]
    records[3] = example(b"other", b"x")
    data = bytearray(tfrecord.frames(records))
    places = np.cumsum([0] + [len(record) + tfrecord.FRAME_BYTES for record in records]).tolist()
    data[places[5] + tfrecord.HEADER_BYTES + 3] ^= 1
    (tmp_path / "x.tfrecord").write_bytes(data[:-3])
    (tmp_path / "y.tfrecord.gz").write_bytes(gzip.compress(tfrecord.frames(records[:3])))
    documents, letters = read([tmp_path / "*"], unit_bytes=100)
    good = [i for i in range(len(small) - 1) if i not in (3, 5)]
    assert [(offset, text) for name, offset, text in documents if name == "x.tfrecord"] == [
        (places[i], small[i]) for i in good
    ]
    assert [text for name, _, text in documents if name == "y.tfrecord.gz"] == small[:3]
    assert sorted(letters, key=lambda letter: letter[1]) == [
        ("x.tfrecord", places[3], "missing field"),
        ("x.tfrecord", places[5], "corrupt record"),
        ("x.tfrecord", places[len(small) - 1], "truncated TFRecord"),
    ]


@pytest.mark.parametrize("form", ["line", "file"])
def test_truncated_and_corrupt_gzip(tmp_path, form):
    lines = [f"line {i} {i * i}".encode() for i in range(20000)]
    whole = gzip.compress(b"\n".join(lines) + b"\n")
    (tmp_path / "a.txt.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.txt.gz").write_bytes(whole[:1000] + b"\0" * 50 + whole[1050:])
    documents, letters = read([tmp_path / "*"], documents=form, unit_bytes=50_000)
    assert [(letter[0], letter[2].split(":")[0]) for letter in letters] == [
        ("a.txt.gz", "truncated gzip"),
        ("b.txt.gz", "corrupt gzip"),
    ]
    if form == "line":
        kept = [text for name, _, text in documents if name == "a.txt.gz"]
        assert kept == lines[: len(kept)]
        assert 5000 < len(kept) < 15000
    else:
        assert not documents


def test_gzip_under_a_wrong_name(tmp_path):
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"hello"))
    assert "does not end in .gz" in read([tmp_path / "a.txt"])[1][0][2]


def test_a_file_that_vanishes_is_a_dead_letter(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello")
    config = ReadConfig()
    plan = plan_units(find_sources([str(tmp_path / "a.txt")], config), config)
    os.unlink(tmp_path / "a.txt")
    (letter,) = readers.read_unit(plan, plan.units[0], config)
    assert letter == DeadLetter("a.txt", 0, "cannot be read: No such file or directory", whole_source=True)


def test_sources(tmp_path):
    for name in ("d/a.txt", "d/b.jsonl.gz", "e/c.parquet", "e/x.tfrecord-00000-of-00001"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    sources = find_sources([str(tmp_path), str(tmp_path / "d" / "*")], ReadConfig())
    assert [(s.name, s.format, s.gzip) for s in sources] == [
        ("d/a.txt", "text", False),
        ("d/b.jsonl.gz", "jsonl", True),
        ("e/c.parquet", "parquet", False),
        ("e/x.tfrecord-00000-of-00001", "tfrecord", False),
    ]
    with pytest.raises(UserError, match="matches no file; check the path"):
        find_sources([str(tmp_path / "missing*")], ReadConfig())
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        find_sources([str(tmp_path / "empty")], ReadConfig())
