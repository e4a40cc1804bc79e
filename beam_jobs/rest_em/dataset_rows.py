"""Records of released dataset files, before they are problems: read from JSON, their fields checked one by one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shammie.errors import UserError
from shammie.files import exists, file_sizes, is_directory, join, read_bytes
from shammie.inflate import GZIP_MAGIC, gunzip


class BadRecordError(ValueError):
    """A record that is no problem of its format; the text says why, in a few words."""


@dataclass(frozen=True)
class Row:
    """A record.

    Attributes:
        name: what its id is made of where it has none of its own, such as "train/000012".
        where: its file, and its number in there.
        values: its fields.
        error: why it has none; "" where it has.
    """

    name: str
    where: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def value(self, name: str) -> Any:
        """A field of any type.

        Raises:
            BadRecordError: it is missing, or the record could not be read.
        """
        if self.error:
            raise BadRecordError(self.error)
        if name not in self.values:
            raise BadRecordError(f"field {name!r} is missing")
        return self.values[name]

    def text(self, name: str, default: str | None = None) -> str:
        """A field that is a string.

        Raises:
            BadRecordError: it is none, or missing without a default.
        """
        if default is not None and not self.error and self.values.get(name) is None:
            return default
        value = self.value(name)
        if not isinstance(value, str):
            raise BadRecordError(f"field {name!r} is {_short(value)}, not a string")
        return value

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A field that is a list of strings.

        Raises:
            BadRecordError: it is none, or missing without a default.
        """
        if default is not None and not self.error and self.values.get(name) is None:
            return default
        value = self.value(name)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BadRecordError(f"field {name!r} is {_short(value)}, not a list of strings")
        return tuple(value)

    def identifier(self, *names: str) -> str:
        """The first of these fields that is there, a string or a whole number, as text; "" where none is.

        Raises:
            BadRecordError: it is something else, or the record could not be read.
        """
        if self.error:
            raise BadRecordError(self.error)
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                raise BadRecordError(f"field {name!r} is {_short(value)}, neither text nor a whole number")
            return str(value)
        return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_text(path: str) -> str:
    """The text of a file, which may be gzipped.

    Raises:
        UserError: it is damaged, or not UTF-8.
    """
    data = read_bytes(path)
    if data.startswith(GZIP_MAGIC):
        try:
            data = gunzip(data)
        except ValueError as error:
            raise UserError(f"{path}: damaged gzip: {error}", "fetch the file again") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8", "fetch the file again, or convert it") from error


def parsed(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        BadRecordError: it is none; that includes integers of more digits than Python reads.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecordError(f"not JSON: {error}") from error


def stem(path: str) -> str:
    """The last part of a path without .gz, .json and .jsonl: "train" of "gs://b/gsm8k/train.jsonl.gz"."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    for ending in (".gz", ".jsonl", ".json"):
        name = name.removesuffix(ending)
    return name


def need(path: str) -> None:
    """Raises UserError where nothing is at the path."""
    if not exists(path):
        raise UserError(f"{path} does not exist", "name the released file or folder")


def file_rows(path: str) -> Iterator[Row]:
    """The records of a file: a JSON list, or lines of JSON, blank ones left out; gzipped or not.

    Raises:
        UserError: it is a folder or not there, its bytes are damaged, or its list isn't JSON.
    """
    need(path)
    if is_directory(path):
        raise UserError(f"{path} is a folder, and this format is one file", "name the file in it")
    text = read_text(path)
    if text.lstrip()[:1] == "[":
        try:
            records = parsed(text)
        except BadRecordError as error:
            raise UserError(f"{path}: {error}", "fetch the file again") from error
        for number, value in enumerate(records, start=1):
            yield _row(f"{stem(path)}/{number:06d}", f"{path} record {number}", value)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _parsed_row(f"{stem(path)}/{number:06d}", f"{path} line {number}", line)


def folder_rows(path: str) -> Iterator[Row]:
    """The records of a folder, one in each .json file below it, by the order of their paths."""
    for name in sorted(file_sizes(path)):
        if name.endswith(".json"):
            where = join(path, name)
            yield _parsed_row(f"{stem(path)}/{name.removesuffix('.json')}", where, read_text(where))


def _parsed_row(name: str, where: str, text: str) -> Row:
    try:
        return _row(name, where, parsed(text))
    except BadRecordError as error:
        return Row(name, where, error=str(error))


def _row(name: str, where: str, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(name, where, value)
    return Row(name, where, error=f"{_short(value)} is no JSON object")
