import numpy as np
import pytest

from beam_jobs import tfrecord
from beam_jobs.read_examples import int64_values, read_targets
from shammie.errors import UserError


def packed(numbers: list[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        while number >= 128:
            out.append(number & 127 | 128)
            number >>= 7
        out.append(number)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + packed([len(data)]) + data


def example(*features: tuple[bytes, bytes]) -> bytes:
    return field(1, b"".join(field(1, field(1, key) + field(2, feature)) for key, feature in features))


def int64s(numbers: list[int], *, in_runs: bool = True) -> bytes:
    values = field(1, packed(numbers)) if in_runs else b"".join(b"\x08" + packed([number]) for number in numbers)
    return field(3, values)


def values_of(*records: bytes) -> list[int]:
    ends = np.cumsum([len(record) for record in records])
    starts = np.concatenate([[0], ends[:-1]])
    return int64_values(np.frombuffer(b"".join(records), np.uint8), starts, ends, "targets").tolist()


def test_packed_and_single_values_among_other_features() -> None:
    numbers = [2, 127, 128, 16383, 16384, 65537, 1]
    other = (b"continuation", int64s([3]))
    text = (b"text", field(1, field(1, b"targets")))
    assert values_of(example(other, (b"targets", int64s(numbers)))) == numbers
    assert values_of(example((b"targets", int64s(numbers, in_runs=False)), other)) == numbers
    assert values_of(
        example(text, (b"targets", int64s([5]))),
        example((b"targets", int64s([]))),
        example((b"targets", int64s([6, 7]))),
    ) == [5, 6, 7]


@pytest.mark.parametrize("case", [[], [2], list(range(2, 500, 7)), [70_000, 2, 1]])
def test_tensorflow_reads_the_same(case: list[int]) -> None:
    import tensorflow as tf

    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=case))
    record = tf.train.Example(features=tf.train.Features(feature={"a": feature, "targets": feature}))
    assert values_of(record.SerializeToString()) == case


def test_what_is_no_such_example_is_named() -> None:
    good = example((b"targets", int64s([5])))
    with pytest.raises(ValueError, match="record 1 has no int64 feature 'targets'"):
        values_of(good, example((b"other", int64s([5]))))
    with pytest.raises(ValueError, match="record 0 has no int64 feature 'targets'"):
        values_of(example((b"targets", field(1, field(1, b"text")))))
    with pytest.raises(ValueError, match=r"record 2 is no tf\.train\.Example"):
        values_of(good, good, good[:-1] + b"\xff")


@pytest.fixture
def datasets_of_arrays(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    path = tmp_path / "whole"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for number in range(30):
        writer.write(example((b"targets", int64s(list(range(number, number + 100))))))
    writer.close()
    return path


def test_a_damaged_shard_is_named(tmp_path) -> None:
    path = tmp_path / "train.tfrecord-00000-of-00001"
    whole = tfrecord.frames([example((b"targets", int64s([5, 6]))), example((b"targets", int64s([7])))])
    path.write_bytes(whole)
    assert np.concatenate(list(read_targets(str(path)))).tolist() == [5, 6, 7]
    for damaged in (whole[:-1], whole[:20] + bytes([whole[20] ^ 1]) + whole[21:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"train\.tfrecord-00000-of-00001 is damaged: .*; write the split again"):
            list(read_targets(str(path)))


def test_an_array_record_shard_that_is_cut_short_is_named(datasets_of_arrays, tmp_path) -> None:
    whole = datasets_of_arrays.read_bytes()
    path = tmp_path / "train.array_record-00000-of-00001"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"array_record-00000-of-00001 is damaged: the file is cut short"):
        list(read_targets(str(path)))
    path.write_bytes(whole)
    assert sum(len(row) for row in read_targets(str(path))) == 3000
