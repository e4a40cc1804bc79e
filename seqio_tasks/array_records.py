"""The records of an ArrayRecord shard, none left out in silence. This module imports no TensorFlow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def read_records(path: str) -> Iterator[bytes]:
    """Yields the records of a local shard in order.

    Raises:
        ValueError: the file is damaged; the library itself says of such a file that it holds no records.
    """
    with _reader(path) as reader:
        for _ in range(reader.num_records()):
            yield reader.read()


def count(path: str) -> int:
    """The records of a shard; ValueError where it is damaged."""
    with _reader(path) as reader:
        return reader.num_records()


def block(path: str, start: int, size: int) -> list[bytes]:
    """At most so many records from a place on; ValueError where they are damaged."""
    with _reader(path) as reader:
        return reader.read(start, min(start + size, reader.num_records()))


@contextmanager
def _reader(path: str) -> Iterator[Any]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(path)
    if not reader.ok():  # closing such a reader raises
        raise ValueError("the file is cut short or is no ArrayRecord file")
    try:
        yield reader
    except (RuntimeError, IndexError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    finally:
        reader.close()
