import numpy as np
import pytest

from beam_jobs import tfrecord
from beam_jobs.crc32c import crc32c
from beam_jobs.examples import FOUND, NO_FEATURE, NOT_AN_EXAMPLE, NOT_BYTES, Sequences, bytes_features, write_examples


def test_crc32c_of_the_published_vectors():
    # RFC 3720, B.4, and the check value of the catalogue of CRCs
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


@pytest.mark.parametrize("size", [0, 1, 7, 15, 16, 17, 40])
def test_crc32c_against_the_bitwise_definition(size):
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8).tobytes()
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_frames_and_examples_are_what_tensorflow_reads(tmp_path):
    tf = pytest.importorskip("tensorflow")
    rows = [[], [0], [125, 126, 16381, 16382, 65535], list(range(0, 60000, 7))]
    codes = np.array([code for row in rows for code in row], np.uint16)
    bounds = np.cumsum([0] + [len(row) for row in rows])
    continuations = np.array([0, 1, 0, 300])
    sequences = Sequences(codes, bounds, np.array([True, False, True, True]), np.arange(5), continuations)
    order = np.array([2, 0, 3, 1])
    data, starts, tokens = write_examples(sequences, order, special=2, end_id=1)
    assert tokens.tolist() == [1, 1, 6, len(rows[3]) + 1]
    assert len(starts) == 5
    assert starts[-1] == len(data)
    path = tmp_path / "shard"
    path.write_bytes(data.tobytes())
    found = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    assert len(found) == 4
    for example, row in zip(found, order, strict=True):
        end = [] if row == 1 else [1]
        assert list(example.features.feature["targets"].int64_list.value) == [c + 2 for c in rows[row]] + end
        numbers = list(example.features.feature["continuation"].int64_list.value) if continuations[row] else []
        assert numbers == ([continuations[row]] if continuations[row] else [])
        assert example.features.feature["targets"].HasField("int64_list")


def test_an_example_of_several_pieces_has_its_end_ids_inside(kit):
    codes = np.array([10, 11, 12, 13], np.uint16)
    sequences = Sequences(
        codes, np.array([0, 1, 1, 4]), np.array([True, True, False]), np.array([0, 3]), np.zeros(1, np.int64)
    )
    data, bounds, _ = write_examples(sequences, np.array([0]), special=2, end_id=1)
    record = data[bounds[0] + tfrecord.HEADER_BYTES : bounds[1] - tfrecord.FOOTER_BYTES].tobytes()
    assert kit.parse_example(record) == {"targets": [12, 1, 1, 13, 14, 15]}


def test_scan_reads_what_tensorflow_writes_and_finds_every_kind_of_damage(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = str(tmp_path / "file")
    records = [b"", b"one", b"x" * 1000]
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    data = np.fromfile(path, np.uint8)
    assert data.tobytes() == tfrecord.frames(records)
    found = tfrecord.scan(data)
    spans = zip(found.starts, found.ends, strict=True)
    assert [data[start:end].tobytes() for start, end in spans] == records
    assert found.state == tfrecord.GOOD
    assert tfrecord.scan(data[:-1]).state == tfrecord.INCOMPLETE
    assert len(tfrecord.scan(data[:-1]).starts) == 2
    flipped = data.copy()
    flipped[found.starts[1]] ^= 1
    assert tfrecord.scan(flipped).states.tolist() == [tfrecord.GOOD, tfrecord.BAD_DATA, tfrecord.GOOD]
    flipped = data.copy()
    flipped[found.starts[1] - tfrecord.HEADER_BYTES] ^= 1
    damaged = tfrecord.scan(flipped)
    assert (damaged.state, len(damaged.starts)) == (tfrecord.BAD_LENGTH, 1)


def test_bytes_features_of_tensorflow_examples():
    tf = pytest.importorskip("tensorflow")
    bytes_of = lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))  # noqa: E731
    numbers = tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2]))
    examples = [
        {"text": bytes_of(b"hello")},
        {"a": numbers, "text": bytes_of(b""), "z": bytes_of(b"z")},
        {"a": bytes_of(b"text")},
        {"text": numbers},
        {"text": tf.train.Feature()},
        {},
    ]
    records = [
        tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString() for features in examples
    ] + [b"\x0a\xff\xff", b"garbage"]
    data = np.frombuffer(b"".join(records), np.uint8)
    bounds = np.cumsum([0] + [len(record) for record in records])
    states, starts, ends = bytes_features(data, bounds[:-1], bounds[1:], "text")
    assert states.tolist()[:6] == [FOUND, FOUND, NO_FEATURE, NOT_BYTES, NOT_BYTES, NO_FEATURE]
    assert states[6] == NOT_AN_EXAMPLE
    assert states[7] != FOUND
    assert data[starts[0] : ends[0]].tobytes() == b"hello"
    assert starts[1] == ends[1]
