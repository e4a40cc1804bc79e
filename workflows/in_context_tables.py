"""CSV files of numbers with a column of labels, read for `shammie in-context`: errors name the row and the column.

The first line names the columns; columns are separated by commas, cells may be quoted. Spaces around a cell and blank
lines do not count. M = rows, F = features.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shammie import files
from shammie.errors import UserError, unknown

SHOWN = 5  # names that an error lists


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """Rows of numbers, perhaps with labels.

    Attributes:
        path: of the file.
        features: the names of the feature columns, in order.
        x_MF: their numbers, float64, finite.
        label_name: of the label column; None where there is none.
        labels: the label of each row as it is written; "" for a blank cell. Empty without a label column.
    """

    path: str
    features: Sequence[str]
    x_MF: np.ndarray
    label_name: str | None
    labels: Sequence[str]


def read_examples(path: str, label: str | None = None) -> LabelledTable:
    """Reads labelled rows.

    Args:
        path: a CSV file, local or on any fsspec file system.
        label: the name of the label column; None for the last one.

    Raises:
        UserError: the file is no such table, a feature is no finite number, or a row has no label.
    """
    header, rows = _read(path)
    if label is not None and label not in header:
        raise unknown(f"column of {path}", label, header, "(--label)")
    place = len(header) - 1 if label is None else header.index(label)
    _check_header(path, header, place)
    if len(header) < 2:
        raise UserError(f"{path} has one column, {header[0]!r}", f"give features and a label{_separator(header[0])}")
    found = _table(path, header, rows, place)
    for row, (line, _) in enumerate(rows):
        if not found.labels[row]:
            raise UserError(
                f"{path}, row {row + 1} (line {line}) has no label in column {header[place]!r}, and a class without a "
                "name has no examples",
                "write its label or take the row out; rows to predict go into --test",
            )
    return found


def read_rows(path: str, features: Sequence[str], label: str) -> LabelledTable:
    """Reads rows to classify.

    Args:
        path: as in `read_examples`.
        features: the columns that it must have, in any order; the result has them in this one.
        label: the label column, which it may have. Blank cells there are labels that are not known.

    Raises:
        UserError: the file is no such table, its columns are others, or a feature is no finite number.
    """
    header, rows = _read(path)
    _check_header(path, header, header.index(label) if label in header else None)
    missing = [name for name in features if name not in header]
    extra = [name for name in header if name not in features and name != label]
    if missing or extra:
        parts = [
            f"{where} has {_names(names)}"
            for where, names in (("only --train", missing), (f"only {path}", extra))
            if names
        ]
        raise UserError(
            f"{path} has other columns than --train: {', '.join(parts)}",
            "give both files the same feature columns; their order does not matter",
        )
    found = _table(path, header, rows, header.index(label) if label in header else None)
    return LabelledTable(
        path, features, found.x_MF[:, [found.features.index(name) for name in features]], found.label_name, found.labels
    )


def classes_of(labels: Sequence[str]) -> list[str]:
    """The different labels, each once: by value where all are whole numbers, else as text is sorted."""
    there = set(labels)
    return sorted(there, key=lambda label: (int(label), label)) if all(map(_is_whole, there)) else sorted(there)


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 4000


def _read(path: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with the line that it ends on."""
    data = files.read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: byte {error.start} is {data[error.start]:#04x}", "save it as a CSV file"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}", "save it as a CSV file") from error
    while lines and not any(lines[-1][1]):
        lines.pop()
    # in a table of one column a blank line is a cell
    lines = [(line, cells or [""]) for line, cells in lines if cells or len(lines[0][1]) == 1]
    if not lines:
        raise UserError(f"{path} is empty", "give a line with the columns' names, then one line a row")
    (_, header), *rows = lines
    if not rows:
        raise UserError(f"{path} has one line, the header, and no rows", "give one line a row below it")
    for row, (line, cells) in enumerate(rows):
        if len(cells) != len(header):
            raise UserError(
                f"{path}, row {row + 1} (line {line}) has {len(cells)} cells, the header {len(header)}",
                "give each row one cell a column, quoted where it has a comma",
            )
    return header, rows


def _check_header(path: str, header: list[str], label_place: int | None) -> None:
    names = [name for place, name in enumerate(header) if place != label_place]
    numbers = [name for name in names if _number(name) is not None]
    # 0, 1, 2 … are names that programs give
    counted = any({*numbers} == {str(first + place) for place in range(len(names))} for first in (0, 1))
    if names and len(numbers) == len(names) and not counted:
        raise UserError(
            f"{path} has no header: its first line is {_names(header)}", "put a line with the columns' names first"
        )
    for place, name in enumerate(header):
        if not name:
            raise UserError(f"{path}: column {place + 1} has no name", "name it in the first line, or take it out")
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise UserError(f"{path} has more than one column {_names(twice)}", "give each column a name of its own")


def _table(path: str, header: list[str], rows: list[tuple[int, list[str]]], place: int | None) -> LabelledTable:
    """The rows as numbers and labels, which are in the column at `place`."""
    columns = [column for column in range(len(header)) if column != place]
    x_MF = np.empty((len(rows), len(columns)))
    for row, (line, cells) in enumerate(rows):
        for feature, column in enumerate(columns):
            number = _number(cells[column])
            if number is None or not math.isfinite(number):
                what = "is missing" if not cells[column] else "is not a number" if number is None else "is not finite"
                said = f" {cells[column][:40]!r}" if cells[column] else ""
                raise UserError(
                    f"{path}, row {row + 1} (line {line}), column {header[column]!r}:{said} {what}",
                    "features are finite numbers: fill it in, or take the row or the column out of both files",
                )
            x_MF[row, feature] = number
    labels = [] if place is None else [cells[place] for _, cells in rows]
    return LabelledTable(
        path, [header[column] for column in columns], x_MF, None if place is None else header[place], labels
    )


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # 1_000 is a number in Python alone
    except ValueError:
        return None


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


def _separator(line: str) -> str:
    """What to add where the columns are not separated by commas."""
    other = next((mark for mark in (";", "\t", "|") if mark in line), None)
    return f", with commas between columns instead of {other!r}" if other else ""
