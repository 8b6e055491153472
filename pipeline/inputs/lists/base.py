"""The rows of a list of images, whatever kind of file it is."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.dataset.schema import NO_COLUMNS
from pipeline.dataset.values import to_arrow, to_plain
from pipeline.inputs.file_kinds import CSV, JSON_LINES, PARQUET, TEXT

_BATCH_ROWS = 65536
_LONGEST = 16 << 20  # characters of a line or a value: a quote that is never closed ends there
_SHOWN = 200  # characters of a row that is wrong


class ListError(ValueError):
    """A list can't be read; nothing may be concluded from it."""


class Rows(NamedTuple):
    """Some rows of a list: texts of uris (None: there is none), and the carried columns.

    Errors say why a row can't be used. Places name rows by something else than their number,
    where they are not empty.
    """

    uris: Sequence[str | None]
    carried: Sequence[Sequence[Any]]
    errors: Sequence[str] = ()
    places: Sequence[str] = ()


class Line(NamedTuple):
    """A row of CSV: the number of its first line, its values, and why they can't be used."""

    number: int
    values: list[str]
    error: str


def _text_rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    for number, line in enumerate(file):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        uri = os.fsdecode(text.rstrip(b"\r\n"))
        if uri.strip():
            yield Rows([uri], [])


def _csv_rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    names, lines = csv_table(file, path)
    check_names(path, [uri_column, *carried.names], names)
    uri, *places = [names.index(name) for name in (uri_column, *carried.names)]
    while batch := list(itertools.islice(lines, _BATCH_ROWS)):
        whole = [line.values for line in batch if not line.error]
        table = (
            _converted(whole, places, carried.names, carried)
            if places
            else NO_COLUMNS.empty_table()
        )
        columns = [iter(to_plain(column)) for column in table.columns]
        yield Rows(
            [None if line.error else line.values[uri] for line in batch],
            [[None if line.error else next(column) for line in batch] for column in columns],
            [line.error for line in batch],
            [f"line-{line.number}" if line.error else "" for line in batch],
        )


def csv_table(file: BinaryIO, path: str) -> tuple[list[str], Iterator[Line]]:
    """The names in the first row of CSV, and the rows below it.

    Bytes that are not UTF-8 stand as os.fsdecode gives them, but for names.
    """
    lines = _csv_lines(file, path)
    _, texts = next(lines, (0, []))
    if not texts:
        raise ListError(f"{path} is empty; expected a first row with the names of its columns")
    names = [_printable(text) for text in texts]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ListError(f"{path} has several columns {twice[0]!r}; rename them")
    expected = len(names)
    return names, (Line(at, row, _misfit(row, expected)) for at, row in lines)


def csv_types(file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]) -> pa.Schema:
    """The types of some columns, such that all of their values have them."""
    names, lines = csv_table(file, path)
    check_names(path, [uri_column, *keep], names)
    whole = (line.values for line in lines if not line.error)
    return _converted(whole, [names.index(name) for name in keep], keep).schema


def _csv_lines(file: BinaryIO, path: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its first line."""
    csv.field_size_limit(_LONGEST)  # of the whole process; 128 KiB if not set
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    reader = csv.reader(_short_lines(file, path), delimiter=delimiter)
    before = 0
    try:
        for values in reader:
            if values:
                yield before + 1, values
            before = reader.line_num
    except csv.Error as error:
        raise ListError(
            f"{path} has a value from line {before + 1} on of more than {_LONGEST:,} characters "
            f"({error}); close its quote"
        ) from error


def _short_lines(file: BinaryIO, path: str) -> Iterator[str]:
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        while line := text.readline(_LONGEST):
            if len(line) == _LONGEST:
                raise ListError(f"{path} has a line of more than {_LONGEST:,} characters")
            # Python 3.10 can't parse null bytes; no name of a file has any.
            yield line if sys.version_info >= (3, 11) else line.replace("\0", "\ufffd")


def _misfit(values: list[str], expected: int) -> str:
    if len(values) == expected:
        return ""
    text = _printable(",".join(values)[:_SHOWN])
    return f"a row with {len(values)} values instead of {expected}: {text}"


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _converted(
    rows: Iterable[list[str]], places: Sequence[int], names: Sequence[str], types: Any = None
) -> pa.Table:
    """The columns at some places, with Arrow's reading of texts; types are found if not given."""
    with io.TextIOWrapper(tempfile.TemporaryFile(), "utf-8", "surrogateescape", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows([row[place] for place in places] for row in rows)
        text.seek(0)
        return pa_csv.read_csv(
            text.buffer,
            pa_csv.ReadOptions(use_threads=False, block_size=_LONGEST),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(column_types=types),
        )


def json_rows(file: BinaryIO) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row, and why it is none."""
    for line in file:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield (row, "") if isinstance(row, dict) else ({}, "a row that is no JSON object")
        except ValueError as error:
            yield {}, f"a row that is no JSON: {error}"


def _json_lines_rows(
    file: BinaryIO, path: str, uri_column: str, carried: pa.Schema
) -> Iterator[Rows]:
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    named = False
    for row, error in json_rows(file):
        named = named or uri_column in row
        rows.append(row)
        errors.append(error)
        if len(rows) == _BATCH_ROWS:
            yield _json_batch(rows, errors, uri_column, carried)
            rows, errors = [], []
    if not named and (rows or errors):
        found = sorted({name for row in rows for name in row})
        check_names(path, [uri_column], found)
    yield _json_batch(rows, errors, uri_column, carried)


def _json_batch(
    rows: list[dict[str, Any]], errors: list[str], uri_column: str, carried: pa.Schema
) -> Rows:
    columns = [
        to_plain(to_arrow([row.get(field.name) for row in rows], field.type)) for field in carried
    ]
    uris = [row.get(uri_column) for row in rows]
    wrong = [
        error or ("" if uri is None or isinstance(uri, str) else f"the uri is no text: {uri!r}")
        for uri, error in zip(uris, errors, strict=True)
    ]
    return Rows([uri if isinstance(uri, str) else None for uri in uris], columns, wrong)


def _parquet_rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    opened = pq.ParquetFile(file)
    check_names(path, [uri_column, *carried.names], opened.schema_arrow.names)
    for batch in opened.iter_batches(_BATCH_ROWS, columns=[uri_column, *carried.names]):
        uris = batch.column(batch.schema.get_field_index(uri_column)).cast(pa.string())
        columns = [
            to_plain(batch.column(batch.schema.get_field_index(field.name)).cast(field.type))
            for field in carried
        ]
        yield Rows(uris.to_pylist(), columns)


READERS: dict[str, Callable[[BinaryIO, str, str, pa.Schema], Iterator[Rows]]] = {
    TEXT: _text_rows,
    CSV: _csv_rows,
    JSON_LINES: _json_lines_rows,
    PARQUET: _parquet_rows,
}


def check_names(path: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise ListError where a list has not all columns that are wanted."""
    for name in wanted:
        if name not in found:
            raise ListError(
                f"{path} has no column {name!r}; it has {', '.join(found) or 'none'}. Name the "
                "column of uris with --uri-column and those to carry over with --keep"
            )
