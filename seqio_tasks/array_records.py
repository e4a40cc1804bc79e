"""The records of an ArrayRecord shard, none left out in silence. This module imports no TensorFlow."""

from collections.abc import Iterator


def read_records(path: str) -> Iterator[bytes]:
    """Yields the records of a local shard in order.

    Raises:
        ValueError: the file is damaged; the library itself says of such a file that it holds no records.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(path)
    if not reader.ok():  # closing such a reader raises
        raise ValueError("the file is cut short or is no ArrayRecord file")
    try:
        for _ in range(reader.num_records()):
            yield reader.read()
    except (RuntimeError, IndexError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    finally:
        reader.close()
