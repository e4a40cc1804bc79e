"""A plan: the sources of a job, in order, and the work units that they fall into.

A unit is a byte range (text, JSONL), a run of row groups (Parquet), a file (gzip, TFRecord, ArrayRecord) or a run of
files (where a file is a document).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import basename, commonpath, dirname
from typing import Any

from beam_jobs import storage, tfds
from shammie.errors import UserError
from shammie.files import is_local

FORMATS = ("text", "jsonl", "parquet", "tfrecord", "array_record")
_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".array_record": "array_record",
}
_SHARDS = {"tfrecord-": "tfrecord", "array_record-": "array_record"}  # what names of numbered shards hold


@dataclass(frozen=True)
class ReadConfig:
    """How sources become documents.

    Attributes:
        format: one of FORMATS, or "auto" to go by each file's ending (text where it says nothing).
        documents: what a text document is: "line" or "file".
        text_field: the JSONL field, Parquet column or feature of a tf.train.Example that holds the text.
        unit_bytes: about the size of a work unit.
        max_example_bytes: a longer document comes in numbered pieces of this size.
    """

    format: str = "auto"
    documents: str = "line"
    text_field: str = "text"
    unit_bytes: int = 32 << 20
    max_example_bytes: int = 64 << 20

    @property
    def batch_bytes(self) -> int:
        """About what is read at once: small enough for a batch to stay in the processor's caches."""
        return max(1, self.unit_bytes // 8)

    def __post_init__(self) -> None:
        if self.format not in ("auto", *FORMATS):
            raise UserError(f"unknown format {self.format!r}", f"choose auto, {', '.join(FORMATS)}")
        if self.documents not in ("line", "file"):
            raise UserError(f"unknown documents={self.documents!r}", "choose line or file")
        for name in ("unit_bytes", "max_example_bytes"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is below 1", "give a number of bytes")


@dataclass(frozen=True)
class Source:
    """A file to read: where, what it is called in results (its path from the sources' common folder), and its kind.

    `text_field` is the feature that holds the text where it is another than the job's.
    """

    path: str
    name: str
    size: int
    changed: float
    format: str
    gzip: bool
    text_field: str = ""


@dataclass(frozen=True)
class Unit:
    """A piece of work: sources first to last - 1; start and stop in bytes or row groups where there is one source.

    `size` is what it counts for in a progress line, in bytes.
    """

    first: int
    last: int
    start: int
    stop: int
    size: int


@dataclass(frozen=True)
class Plan:
    """All sources and units of a job."""

    sources: tuple[Source, ...]
    units: tuple[Unit, ...]

    @property
    def size(self) -> int:
        """The bytes of all sources, as they lie on disk."""
        return sum(source.size for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sources": [list(vars(s).values()) for s in self.sources],
            "units": [list(vars(u).values()) for u in self.units],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Plan":
        """The plan of `to_json`."""
        return cls(tuple(Source(*s) for s in value["sources"]), tuple(Unit(*u) for u in value["units"]))


def find_sources(patterns: Sequence[str], config: ReadConfig) -> tuple[Source, ...]:
    """The files that patterns name, each once, sorted by path.

    Args:
        patterns: files, folders, globs, or datasets that TFDS has prepared (`beam_jobs.tfds`).
        config: how they are read; its format is for files, a dataset says itself what it is.

    Raises:
        UserError: a pattern matches nothing, a file cannot be read, or all of them are empty.
    """
    if not patterns:
        raise UserError("no input is named", "give --input a path or a glob")
    found: dict[str, tuple[storage.Found, str, str]] = {}  # file, format and text field; the last two may be ""
    for pattern in patterns:
        if tfds.is_name(pattern):
            matched, kind, text_field = tfds.find(pattern, config.text_field)
        else:
            matched, kind, text_field = storage.expand(pattern), "", ""
        for file in matched:
            _, _, other = found.get(file.path, (file, kind, text_field))
            if other != text_field:
                both = f"{other or config.text_field} and {text_field or config.text_field}"
                raise UserError(f"{file.path} is named for two texts, {both}", "name it once")
            found[file.path] = file, kind, text_field
    named = [found[path] for path in sorted(found)]
    files = [file for file, _, _ in named]
    if not sum(file.size for file in files):
        raise UserError(f"input {patterns[0]!r} is empty", "name files that hold text")
    paths = [file.path for file in files]
    home = commonpath([dirname(path) for path in paths]) if all(map(is_local, paths)) else _common_prefix(paths)
    sources = []
    for file, kind, text_field in named:
        name = file.path[len(home) :].lstrip("/") or basename(file.path)
        gzip = file.path.endswith(".gz")
        kind = kind or _format_of(file.path.removesuffix(".gz"), config)
        if gzip and kind in ("parquet", "array_record"):
            raise UserError(f"{file.path} is a gzipped {kind} file", "unpack it: such a file needs random access")
        sources.append(Source(file.path, name, file.size, file.changed, kind, gzip, text_field))
    return tuple(sources)


def _format_of(path: str, config: ReadConfig) -> str:
    if config.format != "auto":
        return config.format
    shard = next((kind for part, kind in _SHARDS.items() if part in basename(path)), "")
    return shard or _ENDINGS.get("." + path.rsplit(".", 1)[-1].lower(), "text")


def _common_prefix(paths: list[str]) -> str:
    first, last = min(paths), max(paths)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, same) + 1]


def plan_units(sources: Sequence[Source], config: ReadConfig) -> Plan:
    """Cuts sources into units.

    Raises:
        UserError: a Parquet file lacks the text column.
    """
    units: list[Unit] = []
    first, size = -1, 0  # the open run of files that are documents

    def close_run(last: int) -> None:
        nonlocal first, size
        if first >= 0:
            units.append(Unit(first, last, 0, -1, size))
        first, size = -1, 0

    for index, source in enumerate(sources):
        if source.format == "text" and config.documents == "file":
            first, size = first if first >= 0 else index, size + source.size
            if size >= config.unit_bytes:
                close_run(index + 1)
            continue
        close_run(index)
        if source.size == 0:
            continue
        if source.format == "parquet":
            units += _row_group_units(index, source, config)
        elif source.gzip or source.format in ("tfrecord", "array_record"):
            units.append(Unit(index, index + 1, 0, -1, source.size))
        else:
            for start in range(0, source.size, config.unit_bytes):
                stop = min(start + config.unit_bytes, source.size)
                units.append(Unit(index, index + 1, start, stop, stop - start))
    close_run(len(sources))
    return Plan(tuple(sources), tuple(units))


def _row_group_units(index: int, source: Source, config: ReadConfig) -> list[Unit]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with storage.open_read(source.path) as file:
            about = ParquetFile(storage.buffered(file)).metadata
        columns = [about.schema.column(i).path for i in range(about.num_columns)]
        # of all columns: pyarrow's own report of one, unlike its reading, ends the process where the file is damaged
        sizes = [about.row_group(group).total_byte_size for group in range(about.num_row_groups)]
    except (ArrowException, OSError, ValueError):
        return [Unit(index, index + 1, 0, -1, source.size)]  # the reader will say what is wrong with it
    if config.text_field not in columns:
        raise UserError(
            f"{source.path} has no column {config.text_field!r}, only {', '.join(columns[:10])}",
            "name one by --text_field",
        )
    units, start, size = [], 0, 0
    for group, group_bytes in enumerate(sizes):
        size += group_bytes
        if size >= config.unit_bytes or group == len(sizes) - 1:
            share = source.size * (group + 1 - start) // len(sizes)
            units.append(Unit(index, index + 1, start, group + 1, share))
            start, size = group + 1, 0
    return units
