"""Lists in JSON: an object in each line, or an array of objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from encoder.printable import cut
from pipeline.dataset.values import is_text, text_of
from pipeline.inputs.lists.base import (
    BATCH_ROWS,
    ListError,
    Rows,
    carried_values,
    check_names,
    shown,
)
from pipeline.inputs.lists.column_types import joined
from pipeline.inputs.lists.json_values import Object, Row, objects_of
from pipeline.inputs.lists.text_input import encoding_note, opened_text, valid_text
from pipeline.options import ListOptions
from pipeline.records import Note

_SHOWN = 200  # characters of a uri in an error
_MOST_NAMES = 1000  # that are remembered for an error


def rows(
    file: BinaryIO, path: str, options: ListOptions, carried: pa.Schema, notes: list[Note]
) -> Iterator[Rows]:
    """A row per object; what is no object is a row with an error. See base.Kind."""
    with opened_text(file, options.encoding, newline="") as text:
        seen = _Names(path, options, carried.names)
        escaped = _Escaped(path)
        number = 0
        for batch in _batches(objects_of(text, path), seen):
            number += len(batch)
            columns = []
            for field in carried:
                values = [escaped.valid(row.value.get(field.name)) for row in batch]
                where = _places(batch, options.uri_column)
                columns.append(carried_values(path, _column(values, field), field, where, options))
            uris = [row.value.get(options.uri_column) for row in batch]
            errors = [row.error or _problem(uri) for uri, row in zip(uris, batch, strict=True)]
            yield Rows([uri if isinstance(uri, str) else None for uri in uris], columns, errors)
        seen.check()
        notes += encoding_note(path, text.encoding, number)
        notes += escaped.notes()


def carried_types(
    file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]
) -> list[pa.DataType]:
    """See base.Kind. Values of different types have text in common."""
    with opened_text(file, options.encoding, newline="") as text:
        seen = _Names(path, options, keep)
        types = [pa.null() for _ in keep]
        for batch in _batches(objects_of(text, path), seen):
            for place, name in enumerate(keep):
                found = _array([_valid(row.value.get(name)) for row in batch]).type
                types[place] = joined(types[place], found)
        seen.check()
        return types


def check_columns(file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]) -> None:
    """Do nothing: the columns are known only after reading all rows."""


class _Names:
    """The keys of the objects of a list, for errors."""

    def __init__(self, path: str, options: ListOptions, keep: Sequence[str]) -> None:
        self._path = path
        self._options = options
        self._keep = keep
        self._names: dict[str, None] = {}
        self._objects = 0
        self._last: Object = {}

    def add(self, row: Row) -> None:
        if row.error:
            return
        self._objects += 1
        self._last = row.value
        few = len(self._names) < _MOST_NAMES
        wanted = (self._options.uri_column, *self._keep)
        self._names.update((name, None) for name in row.value if few or name in wanted)

    def check(self) -> None:
        """Raise ListError if no object has a uri, or none has one of the names to keep."""
        if not self._objects:
            return
        nested = [name for name, value in self._last.items() if isinstance(value, list | dict)]
        if self._objects == 1 and nested and self._options.uri_column not in self._last:
            raise ListError(
                valid_text(
                    f"{self._path} is one JSON object with the keys {shown(list(self._last))}. "
                    "Expected an array of objects or an object in each line, one per image, with a "
                    f"key {self._options.uri_column!r}; take the array of images out of "
                    f"{', '.join(map(repr, nested))}"
                )
            )
        check_names(self._path, self._options, self._keep, list(self._names))


def _batches(found: Iterator[Row], seen: _Names) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(found, BATCH_ROWS)):
        for row in batch:
            seen.add(row)
        yield batch


def _problem(uri: object) -> str | None:
    return (
        None
        if uri is None or isinstance(uri, str)
        else f"the uri is no text: {cut(repr(uri), _SHOWN)}"
    )


def _places(batch: list[Row], uri_column: str) -> Callable[[int], str]:
    def where(row: int) -> str:
        return f"{batch[row].place} ({cut(repr(batch[row].value.get(uri_column)), _SHOWN)})"

    return where


def _column(values: list[object], field: pa.Field) -> pa.Array:
    """Values as Arrow has them, ready to be converted to a column's type."""
    if is_text(field.type):
        return pa.array([text_of(value) for value in values], pa.string())
    return _array(values)


def _array(values: list[object]) -> pa.Array:
    """Values as an array of the type that fits all, text if there is no other."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and any(not -(2**63) <= value < 2**63 for value in _whole(values)):
        if all(0 <= value < 2**64 for value in _whole(values)):
            return pa.array(values, pa.uint64())
    elif kinds <= {int, float} or len(kinds) <= 1:
        try:
            found = pa.array(values)
        except (pa.ArrowException, OverflowError):
            found = None  # nested values of different types
        # Parquet has no objects without keys.
        if found is not None and "struct<>" not in str(found.type):
            return found
    return pa.array([text_of(value) for value in values], pa.string())


def _whole(values: list[object]) -> Iterator[int]:
    return (value for value in values if isinstance(value, int))


def _valid(value: object) -> object:
    """A value in which all text is valid; see text_input.valid_text."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, list):
        return [_valid(each) for each in value]
    if isinstance(value, dict):
        return {valid_text(name): _valid(each) for name, each in value.items()}
    return value


class _Escaped:
    """Counts the values with text that is not valid."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0
        self._example = ""

    def valid(self, value: object) -> object:
        """The value in which all text is valid."""
        valid = _valid(value)
        if isinstance(value, str | list | dict) and valid != value:
            self._count += 1
            self._example = self._example or str(valid)
        return valid

    def notes(self) -> list[Note]:
        text = "{value} with bytes or half characters that are no text, kept as escapes"
        return [Note(self._path, text, self._count, self._example[:80])] if self._count else []
