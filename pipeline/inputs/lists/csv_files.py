"""Lists in CSV and TSV."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from pipeline.dataset.values import is_text
from pipeline.inputs.lists.base import BATCH_ROWS, Rows, carried_values, check_names
from pipeline.inputs.lists.csv_lines import CsvLines, Line
from pipeline.inputs.lists.text_input import (
    Text,
    encoding_note,
    lines_of,
    opened_text,
    valid_text,
)
from pipeline.inputs.uris import brief, readable
from pipeline.options import ListOptions
from pipeline.records import Note

_WHOLE = re.compile(r"(0|-?[1-9]\d{0,18})", re.ASCII)


def rows(
    file: BinaryIO, path: str, options: ListOptions, carried: pa.Schema, notes: list[Note]
) -> Iterator[Rows]:
    """A row per row of the table; a row that can't be split into values has an error."""
    with opened_text(file, options.encoding, newline="") as text:
        table = _table(text, path, options, carried.names)
        uri = table.names.index(options.uri_column)
        places = [table.names.index(name) for name in carried.names]
        escaped = _Escaped(path)
        number = 0
        for batch in _batches(table):
            number += len(batch)
            whole = [line for line in batch if not line.error]

            def where(row: int, whole: list[Line] = whole) -> str:
                return f"line {whole[row].number} ({brief(whole[row].values[uri])})"

            columns = []
            for field, place in zip(carried, places, strict=True):
                texts = [line.values[place] for line in whole]
                column = escaped.column(texts, field)
                columns.append(iter(carried_values(path, column, field, where, options)))
            yield Rows(
                [None if line.error else line.values[uri] for line in batch],
                [[None if line.error else next(column) for line in batch] for column in columns],
                [line.error for line in batch],
                [f"line-{line.number}" if line.error else None for line in batch],
            )
        notes += table.notes()
        notes += encoding_note(path, text.encoding, number, table.unusual_delimiter)
        notes += escaped.notes()


def carried_types(
    file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]
) -> list[pa.DataType]:
    """See base.Kind.

    A column is of whole numbers, floats or truth values only if each of its values would be written
    as the same text again.
    """
    with opened_text(file, options.encoding, newline="") as text:
        table = _table(text, path, options, keep)
        places = [table.names.index(name) for name in keep]
        guesses = [_Guess() for _ in keep]
        for batch in _batches(table):
            for guess, place in zip(guesses, places, strict=True):
                guess.add(line.values[place] for line in batch if not line.error)
        return [guess.type() for guess in guesses]


def check_columns(file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]) -> None:
    """See base.Kind."""
    with opened_text(file, options.encoding, newline="") as text:
        _table(text, path, options, keep)


def _table(text: Text, path: str, options: ListOptions, keep: Sequence[str]) -> CsvLines:
    """The rows of a list that has the column of uris and those to keep."""
    lines = lines_of(text, path)
    wanted = (options.uri_column, *keep)
    table = CsvLines(lines, path, wanted, options.delimiter, options.quoting)
    check_names(path, options, keep, table.names)
    return table


def _batches(table: CsvLines) -> Iterator[list[Line]]:
    lines = iter(table)
    while batch := list(itertools.islice(lines, BATCH_ROWS)):
        yield batch


class _Escaped:
    """Columns of texts as Arrow has them; counts the values with bytes that are not UTF-8."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0
        self._example = ""

    def column(self, texts: list[str], field: pa.Field) -> pa.Array:
        """The texts of a column; empty ones are null unless the column is of text or bytes."""
        if pa.types.is_binary(field.type):
            return pa.array([text.encode("utf-8", "surrogateescape") for text in texts])
        valid = [valid_text(text) for text in texts]
        changed = [new for new, old in zip(valid, texts, strict=True) if new != old]
        self._count += len(changed)
        self._example = self._example or next(iter(changed), "")
        if is_text(field.type):
            return pa.array(valid, pa.string())
        return pa.array([text or None for text in valid], pa.string())

    def notes(self) -> list[Note]:
        if not self._count:
            return []
        text = (
            "{value} with bytes that are not of the list's encoding, kept as escapes "
            "(--list-encoding latin-1, or another encoding, makes them letters)"
        )
        return [Note(self._path, text, self._count, readable(self._example[:80]))]


class _Guess:
    """Finds the type that fits all texts of a column."""

    def __init__(self) -> None:
        self._any = False
        self._left: list[tuple[pa.DataType, Callable[[str], bool]]] = [
            (pa.int64(), _is_whole),
            (pa.float64(), _is_float),
            (pa.bool_(), _is_truth),
        ]

    def add(self, texts: Iterable[str]) -> None:
        """Take the next texts; empty ones fit every type."""
        if not self._left:
            return
        filled = [text for text in texts if text]
        self._any = self._any or bool(filled)
        self._left = [(kind, test) for kind, test in self._left if all(map(test, filled))]

    def type(self) -> pa.DataType:
        """The type; null if all texts were empty."""
        if not self._any and self._left:
            return pa.null()
        return self._left[0][0] if self._left else pa.string()


def _is_whole(text: str) -> bool:
    return bool(_WHOLE.fullmatch(text)) and -(2**63) <= int(text) < 2**63


def _is_float(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and repr(value) == text


def _is_truth(text: str) -> bool:
    return text in ("true", "false")
