"""int64 features of tf.train.Example without TensorFlow: what our jobs wrote, read back."""

import itertools
from collections.abc import Iterator

import numpy as np

from beam_jobs import tfrecord
from beam_jobs.examples import _field, _skip, _varint
from seqio_tasks.array_records import read_records
from shammie import files
from shammie.errors import UserError
from shammie.jit import compiled

GOOD, MISSING, MALFORMED = 0, 1, 2
BLOCK_RECORDS = 4096  # ArrayRecord is read one record at a time; parsing wants many


@compiled
def _count_and_read(data, start, end, name, out, at):
    """Writes one example's values of a feature to out[at:]; the next place and a state."""
    features, features_end = _field(data, start, end, 1)
    if features < 0:
        return at, MISSING if features == -1 else MALFORMED
    place = features
    while place < features_end:
        entry, entry_end = _field(data, place, features_end, 1)
        if entry < 0:
            return at, MISSING if entry == -1 else MALFORMED
        place = entry_end
        key, key_end = _field(data, entry, entry_end, 1)
        same = key >= 0 and key_end - key == len(name)
        if same:
            for k in range(len(name)):
                same = same and data[key + k] == name[k]
        if not same:
            continue
        value, value_end = _field(data, entry, entry_end, 2)
        if value < 0:
            return at, MISSING if value == -1 else MALFORMED
        chosen, chosen_end = _field(data, value, value_end, 3)
        if chosen < 0:
            return at, MISSING if chosen == -1 else MALFORMED
        while chosen < chosen_end:  # packed runs and single values may both occur
            tag, chosen = _varint(data, chosen, chosen_end)
            stop = _skip(data, chosen, chosen_end, tag & 7) if tag >= 0 else np.int64(-1)
            if stop < 0:
                return at, MALFORMED
            if tag >> 3 == 1 and tag & 7 == 2:
                _, chosen = _varint(data, chosen, chosen_end)
            elif tag >> 3 != 1 or tag & 7 != 0:
                chosen = stop
            while chosen < stop:
                number, chosen = _varint(data, chosen, stop)
                if number < 0:
                    return at, MALFORMED
                out[at] = number
                at += 1
        return at, GOOD
    return at, MISSING


@compiled
def _read_all(data, starts, ends, name, out):
    at = np.int64(0)
    for row in range(len(starts)):
        at, state = _count_and_read(data, starts[row], ends[row], name, out, at)
        if state != GOOD:
            return at, row, state
    return at, np.int64(-1), GOOD


def int64_values(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, name: str) -> np.ndarray:
    """One int64 feature's values in many serialised examples, joined.

    Args:
        data: uint8, the examples.
        starts: int64 [N].
        ends: int64 [N].
        name: the feature's key.

    Returns:
        int32 [values of all examples, in order].

    Raises:
        ValueError: an example has no such feature, or is none; names its place.
    """
    out = np.empty(int((ends - starts).sum()), np.int32)  # a value takes at least a byte
    count, row, state = _read_all(data, starts, ends, np.frombuffer(name.encode(), np.uint8), out)
    if state != GOOD:
        problem = f"has no int64 feature {name!r}" if state == MISSING else "is no tf.train.Example"
        raise ValueError(f"record {row} {problem}")
    return out[:count]


def read_targets(path: str, name: str = "targets") -> Iterator[np.ndarray]:
    """The values of a feature in all examples of a shard, TFRecord or ArrayRecord, in order.

    Yields:
        int32 [values], of many examples each.

    Raises:
        UserError: the shard is damaged.
    """
    try:
        if ".array_record-" in path.rpartition("/")[2]:
            yield from (_values_of_records(records, name) for records in _blocks(read_records(path)))
            return
        data = np.frombuffer(files.read_bytes(path), np.uint8)
        found = tfrecord.scan(data)
        if found.state != tfrecord.GOOD or found.states.any():
            raise ValueError(f"the CRC of record {int(np.argmax(found.states != tfrecord.GOOD))} or its frame differs")
        yield int64_values(data, found.starts, found.ends, name)
    except ValueError as error:
        raise UserError(f"shard {path} is damaged: {error}", "write the split again with --overwrite") from error


def _values_of_records(records: list[bytes], name: str) -> np.ndarray:
    ends = np.cumsum([len(record) for record in records])
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return int64_values(np.frombuffer(b"".join(records), np.uint8), starts, ends.astype(np.int64), name)


def _blocks(records: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(itertools.islice(records, BLOCK_RECORDS)):
        yield block
