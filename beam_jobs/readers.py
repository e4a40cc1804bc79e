"""Units into documents: one generator for every kind of source, in bounded memory, bad records set aside."""

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import IO, Any

import numpy as np

from beam_jobs import storage, tfrecord
from beam_jobs.examples import FOUND, NO_FEATURE, NOT_BYTES, bytes_features
from beam_jobs.lines import gather, line_documents
from beam_jobs.records import UNREADABLE, DeadLetter, Documents, documents_of, split_long, whole_documents
from beam_jobs.units import Plan, ReadConfig, Source, Unit
from shammie.files import is_local
from shammie.inflate import GZIP_MAGIC, MOST_RATIO, is_bomb

Read = Callable[[int], np.ndarray]
Item = Documents | DeadLetter

_RAW_BYTES = 1 << 18  # zlib copies what is left of them behind each end of a member
MOST_RECORD_BYTES = (2 << 30) + tfrecord.FRAME_BYTES  # protocol buffers allow no larger one
_READERS_OPTIONS = "readahead_buffer_size:1M,max_parallelism:1"  # ArrayRecord's own threads would cost 16 MB each


class DamagedSourceError(Exception):
    """The rest of a source cannot be read."""


def read_unit(plan: Plan, unit: Unit, config: ReadConfig) -> Iterator[Item]:
    """The documents of a unit, in order, in batches of about `batch_bytes`, and its bad records.

    What is wrong with a record, or with a whole source, comes as a DeadLetter; nothing is raised for it.
    """
    if plan.sources[unit.first].format == "text" and config.documents == "file":
        yield from _files(plan, unit, config)
        return
    source = plan.sources[unit.first]
    reader = _READERS[source.format]
    try:
        with storage.open_read(source.path) as file:
            yield from reader(file, source, unit, config)
    except (DamagedSourceError, OSError) as error:
        yield _damaged(source, unit.start, error)


def _damaged(source: Source, offset: int, error: Exception) -> DeadLetter:
    reason = str(error) if isinstance(error, DamagedSourceError) else f"{UNREADABLE}: {_short(error)}"
    return DeadLetter(source.name, offset, reason, whole_source=True)


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]


def _plain(file: IO[bytes]) -> Read:
    def read(count: int) -> np.ndarray:
        buffer = np.empty(count, np.uint8)
        return buffer[: storage.read_into(file, buffer.data)]

    return read


def _gunzip(file: IO[bytes]) -> Read:
    """Reads gzip members one behind another; damage raises after all good bytes before it were given."""
    state = {"inflate": zlib.decompressobj(wbits=31), "raw": b"", "started": False, "damage": ""}
    sizes = {"read": 0, "made": 0}

    def read(count: int) -> np.ndarray:
        parts, got = [], 0
        while got < count and not state["damage"]:
            raw = state["raw"]
            if not raw:
                raw = file.read(_RAW_BYTES)
                sizes["read"] += len(raw)
            if not raw and not state["started"]:
                break
            try:
                part = state["inflate"].decompress(raw, count - got)
            except zlib.error as error:
                state["damage"] = f"corrupt gzip: {_short(error)}"
                break
            state["started"] = True
            if state["inflate"].eof:
                state["raw"] = state["inflate"].unused_data.lstrip(b"\0")  # padding between members is allowed
                state["inflate"], state["started"] = zlib.decompressobj(wbits=31), False
            elif not raw and not part:
                state["damage"] = "truncated gzip"
                break
            else:
                state["raw"] = state["inflate"].unconsumed_tail
            parts.append(part)
            got += len(part)
            sizes["made"] += len(part)
            if is_bomb(sizes["made"], sizes["read"]):
                state["damage"] = f"gzip of over {MOST_RATIO} times its size, as only a bomb is"
        if state["damage"] and not got:
            raise DamagedSourceError(state["damage"])
        return np.frombuffer(b"".join(parts), np.uint8)

    return read


def _stream(file: IO[bytes], source: Source, start: int = 0) -> Read:
    if source.gzip:
        return _gunzip(file)
    if start == 0:
        magic = file.read(2)
        if magic == GZIP_MAGIC:
            raise DamagedSourceError("holds gzip data but its name does not end in .gz")
    file.seek(max(0, start - 1))
    return _plain(file)


def _lines(file: IO[bytes], source: Source, unit: Unit, config: ReadConfig) -> Iterator[Documents]:
    yield from line_documents(
        _stream(file, source, unit.start),
        start=unit.start,
        stop=None if unit.stop < 0 else unit.stop,
        source=unit.first,
        block_bytes=config.batch_bytes,
        limit=config.max_example_bytes,
    )


def _jsonl(file: IO[bytes], source: Source, unit: Unit, config: ReadConfig) -> Iterator[Item]:
    longest = 8 * config.max_example_bytes  # a line must be parsed whole; escapes make it longer than its text
    batches = line_documents(
        _stream(file, source, unit.start),
        start=unit.start,
        stop=None if unit.stop < 0 else unit.stop,
        source=unit.first,
        block_bytes=config.batch_bytes,
        limit=longest,
    )
    for batch in batches:
        texts, offsets = [], []
        data = batch.text.tobytes()
        borders = batch.bounds.tolist()
        for row, offset in enumerate(batch.offsets.tolist()):
            if batch.pieces[row] or not batch.last[row]:
                if not batch.pieces[row]:
                    yield DeadLetter(source.name, offset, "line too long", f"over {longest} bytes")
                continue
            line = data[borders[row] : borders[row + 1]]
            if not line.strip():
                continue
            text = _text_of_json(line, config.text_field)
            if isinstance(text, bytes):
                texts.append(text)
                offsets.append(offset)
            else:
                yield DeadLetter(source.name, offset, *text)
        yield split_long(documents_of(texts, source=unit.first, offsets=offsets), config.max_example_bytes)


def _text_of_json(line: bytes, field: str) -> bytes | tuple[str, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return "invalid JSON", _short(error)
    if not isinstance(value, dict):
        return "not a JSON object", type(value).__name__
    if field not in value:
        return "missing field", field
    text = value[field]
    if not isinstance(text, str):
        return "not a string", f"{field} is {type(text).__name__}"
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        return "not valid Unicode", _short(error)


def _parquet(file: IO[bytes], source: Source, unit: Unit, config: ReadConfig) -> Iterator[Item]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        parquet = ParquetFile(storage.buffered(file))
        if config.text_field not in parquet.schema_arrow.names:
            raise DamagedSourceError(f"has no column {config.text_field!r}")
        stop = parquet.num_row_groups if unit.stop < 0 else unit.stop
        row = sum(parquet.metadata.row_group(group).num_rows for group in range(unit.start))
        groups = list(range(unit.start, stop))
        for batch in parquet.iter_batches(4096, row_groups=groups, columns=[config.text_field], use_threads=False):
            column = batch.column(0)
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            if not (pa.types.is_large_binary(column.type) or pa.types.is_large_string(column.type)):
                try:
                    column = column.cast(pa.large_binary())
                except pa.ArrowException:
                    raise DamagedSourceError(f"column {config.text_field!r} is {column.type}, not text") from None
            rows = np.arange(row, row + len(column))
            row += len(column)
            if column.null_count:
                good = np.asarray(column.is_valid())
                for bad in rows[~good].tolist():
                    yield DeadLetter(source.name, bad, "missing field", f"{config.text_field} is null")
                column, rows = column.drop_null(), rows[good]
            if len(column):
                _, places, data = column.buffers()
                bounds = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
                text = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
                text = text[bounds[0] : bounds[-1]]
                documents = whole_documents(text, bounds - bounds[0], source=unit.first, offsets=rows)
                yield split_long(documents, config.max_example_bytes)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # the file system's; Arrow's own have no number
            raise
        raise DamagedSourceError(f"corrupt Parquet: {_short(error)}") from error


_WHY = {NO_FEATURE: "missing field", NOT_BYTES: "not a string"}


def _tfrecord(file: IO[bytes], source: Source, unit: Unit, config: ReadConfig) -> Iterator[Item]:
    read = _gunzip(file) if source.gzip else _plain(file)
    pending, base, size = np.empty(0, np.uint8), 0, config.batch_bytes
    while True:
        block = read(size)
        data = np.concatenate([pending, block]) if len(pending) else block
        found = tfrecord.scan(data)
        good = found.states == tfrecord.GOOD
        for at in found.starts[~good].tolist():
            yield DeadLetter(source.name, base + at - tfrecord.HEADER_BYTES, "corrupt record", "its CRC differs")
        starts = found.starts[good]
        offsets = starts - tfrecord.HEADER_BYTES + base
        yield from _texts_of_examples(data, starts, found.ends[good], offsets, source, unit, config)
        if not source.gzip and source.size < found.wanted <= MOST_RECORD_BYTES:
            yield DeadLetter(source.name, base + found.stop, "truncated TFRecord", whole_source=True)
            return
        if found.state == tfrecord.BAD_LENGTH or found.wanted > MOST_RECORD_BYTES:
            yield DeadLetter(source.name, base + found.stop, "corrupt TFRecord header", whole_source=True)
            return
        if not len(block):
            if found.state == tfrecord.INCOMPLETE:
                yield DeadLetter(source.name, base + found.stop, "truncated TFRecord", whole_source=True)
            return
        pending, base = data[found.stop :], base + found.stop
        size = max(config.batch_bytes, len(pending))  # doubles until a long record fits


def _texts_of_examples(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    offsets: np.ndarray,
    source: Source,
    unit: Unit,
    config: ReadConfig,
) -> Iterator[Item]:
    """The texts in serialised examples that lie in `data` from `starts` to `ends`, int64 [N]."""
    name = source.text_field or config.text_field
    states, from_, to = bytes_features(data, starts, ends, name)
    for row in np.flatnonzero(states != FOUND).tolist():
        reason = _WHY.get(int(states[row]), "not a tf.train.Example")
        yield DeadLetter(source.name, int(offsets[row]), reason, name if int(states[row]) in _WHY else "")
    chosen = states == FOUND
    text, bounds = gather(data, from_[chosen], to[chosen])
    documents = whole_documents(text, bounds, source=unit.first, offsets=offsets[chosen])
    yield split_long(documents, config.max_example_bytes)


def _array_record(file: IO[bytes], source: Source, unit: Unit, config: ReadConfig) -> Iterator[Item]:
    from array_record.python.array_record_module import ArrayRecordReader

    with _on_disk(file, source) as path:
        reader = ArrayRecordReader(path, _READERS_OPTIONS)
        row, count, damage = 0, reader.num_records(), ""
        if not reader.ok():  # a damaged file says that it holds no records
            damage = _damage_of(reader)
        while row < count and not damage:
            records, held = [], 0
            while row + len(records) < count and held < config.batch_bytes:
                try:
                    record = reader.read()
                except (RuntimeError, IndexError) as error:
                    damage = _short(error)
                    break
                records.append(record)
                held += len(record)
            ends = np.cumsum([len(record) for record in records], dtype=np.int64)
            starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
            offsets = np.arange(row, row + len(records))
            data = np.frombuffer(b"".join(records), np.uint8)
            yield from _texts_of_examples(data, starts, ends, offsets, source, unit, config)
            row += len(records)
        if damage:
            yield DeadLetter(source.name, row, f"corrupt ArrayRecord: {damage}", whole_source=True)
        else:
            reader.close()


def _damage_of(reader: Any) -> str:
    try:
        reader.read()
    except (RuntimeError, IndexError) as error:
        return _short(error)
    return "cannot be read"


@contextmanager
def _on_disk(file: IO[bytes], source: Source) -> Iterator[str]:
    """The path of a source on this machine: its own, or a copy's that is removed afterwards."""
    if is_local(source.path):
        yield source.path
        return
    with NamedTemporaryFile(prefix="shammie-") as copy:
        shutil.copyfileobj(file, copy, _RAW_BYTES)
        copy.flush()
        yield copy.name


_READERS = {
    "text": _lines,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "tfrecord": _tfrecord,
    "array_record": _array_record,
}


def _files(plan: Plan, unit: Unit, config: ReadConfig) -> Iterator[Item]:
    """Files as documents, small ones together."""
    batch: list[Documents] = []
    held = 0
    for index in range(unit.first, unit.last):
        source = plan.sources[index]
        try:
            with storage.open_read(source.path) as file:
                read = _stream(file, source)
                most = config.max_example_bytes
                piece, block = 0, read(most if source.gzip else min(most, max(1, source.size)))
                while len(block):
                    following = read(1 << 16 if not source.gzip and len(block) < most else most)
                    documents = documents_of([], source=index, offsets=[])._replace(
                        text=block,
                        bounds=np.array([0, len(block)]),
                        sources=np.array([index], np.int32),
                        offsets=np.zeros(1, np.int64),
                        pieces=np.array([piece]),
                        last=np.array([not len(following)]),
                    )
                    batch.append(documents)
                    held += len(block)
                    if held >= config.batch_bytes:
                        yield _joined(batch)
                        batch, held = [], 0
                    piece, block = piece + 1, following
        except (DamagedSourceError, OSError) as error:
            yield _damaged(source, 0, error)
    if batch:
        yield _joined(batch)


def _joined(batch: list[Documents]) -> Documents:
    if len(batch) == 1:
        return batch[0]
    text, _, sources, offsets, pieces, last = map(np.concatenate, zip(*batch, strict=True))
    bounds = np.zeros(len(batch) + 1, np.int64)
    np.cumsum([len(documents.text) for documents in batch], out=bounds[1:])
    return Documents(text, bounds, sources, offsets, pieces, last)
