"""A corpus on disk: one Parquet file a split, columns `name` and `text` (bytes as they are)."""

import hashlib
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from shammie.files import join, open_read
from workflows.corpus import SPLITS

ROW_GROUP_BYTES = 4 << 20
_SCHEMA = pa.schema([("name", pa.string()), ("text", pa.binary())])


class CorpusWriter:
    """Streams documents into a corpus; memory holds one row group a split.

    Args:
        directory: receives SPLIT.parquet for each split.

    Attributes:
        documents: how many were written, by split.
        bytes: their size, by split.
    """

    def __init__(self, directory: str) -> None:
        self.documents: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._writers = {
            split: pq.ParquetWriter(join(directory, f"{split}.parquet"), _SCHEMA, compression="zstd")
            for split in SPLITS
        }
        self._held: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
        self._held_bytes: Counter[str] = Counter()

    def __enter__(self) -> "CorpusWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for split, writer in self._writers.items():
            self._flush(split)
            writer.close()

    def write(self, split: str, name: str, text: bytes) -> None:
        """Adds a document."""
        self.documents[split] += 1
        self.bytes[split] += len(text)
        self._held[split].append((name, text))
        self._held_bytes[split] += len(text)
        if self._held_bytes[split] >= ROW_GROUP_BYTES:
            self._flush(split)

    def _flush(self, split: str) -> None:
        if self._held[split]:
            names, texts = zip(*self._held[split], strict=True)
            self._writers[split].write_table(pa.table([list(names), list(texts)], schema=_SCHEMA))
        self._held[split].clear()
        self._held_bytes[split] = 0


def read_documents(directory: str, split: str) -> Iterator[bytes]:
    """The texts of a split, in order, a row group at a time."""
    return (text for _, text in _read(directory, split))


def sample_documents(directory: str, split: str, megabytes: float) -> list[bytes]:
    """About so many megabytes of a split, drawn from all of it by a hash of the documents' names, the last one cut."""
    size = sum(len(text) for text in read_documents(directory, split))
    share = megabytes * 1e6 / max(size, 1)
    out, left = [], int(megabytes * 1e6)
    for name, text in _read(directory, split):
        place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64
        if left > 0 and place < share:
            out.append(text[: _character_border(text, left)])
            left -= len(text)
    return out


def _character_border(text: bytes, size: int) -> int:
    """The last place up to a size that does not cut a UTF-8 character."""
    while 0 < size < len(text) and text[size] & 0xC0 == 0x80:
        size -= 1
    return size


def _read(directory: str, split: str) -> Iterator[tuple[str, bytes]]:
    with open_read(join(directory, f"{split}.parquet")) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256):
            yield from zip(batch.column("name").to_pylist(), batch.column("text").to_pylist(), strict=True)
