"""Lists of images: a text file of uris, or a manifest in CSV, JSON Lines or Parquet.

A manifest has a column of uris, and columns that are carried into the dataset. Relative uris
start at the list's own folder.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.storage import is_remote, normalize, store_for
from pipeline.names import CSV, JSON_LINES, PARQUET, TEXT, list_kind
from pipeline.records import Kept
from pipeline.values import to_arrow, to_plain

DEFAULT_URI_COLUMN = "uri"
_BATCH_ROWS = 65536
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class ListError(ValueError):
    """A list can't be read; nothing may be concluded from it."""


class Entry(NamedTuple):
    """One image that a list names.

    Attributes:
        path: absolute, or gs://; what stands in the list where it can't be such a path; the list
            and the row's number where there is nothing at all.
        error: why it can't be an image; empty if it can.
        kept: values of the carried columns, in the order of the schema that was asked for.
    """

    path: str
    error: str
    kept: Kept | None


class _Rows(NamedTuple):
    """Some rows of a list: texts of uris (None: there is none), and the carried columns."""

    uris: Sequence[str | None]
    kept: Sequence[Sequence[Any]]
    errors: Sequence[str] = ()


def read_list(path: str, uri_column: str, kept: pa.Schema) -> Iterator[Entry]:
    """The entries of a list, in its order.

    Args:
        path: absolute, or gs://.
        uri_column: that holds the uris; of no meaning for a text file.
        kept: the columns to carry over, with the types to give them.

    Raises:
        ListError: the list has no such column, or can't be read to its end.
    """
    number = 0
    with _opened(path) as file:
        for rows in _READERS[list_kind(path)](file, path, uri_column, kept):
            for row, uri in enumerate(rows.uris):
                number += 1
                values = tuple(column[row] for column in rows.kept) if rows.kept else None
                error = rows.errors[row] if rows.errors else ""
                yield _entry(path, number, uri, error, values)


def carried_types(path: str, uri_column: str, keep: Sequence[str]) -> pa.Schema:
    """The types of the columns that a list carries over. Reads the whole list, unless Parquet.

    Raises:
        ListError: the list has no such column, or can't be read.
    """
    with _opened(path) as file:
        kind = list_kind(path)
        if kind == TEXT:
            raise ListError(f"{path} is a plain list of uris: it has no columns to keep")
        if kind == PARQUET:
            schema = pq.read_schema(file)
            _check_columns(path, [uri_column, *keep], schema.names)
            return pa.schema([_plain_field(schema.field(name)) for name in keep])
        if kind == CSV:
            _check_columns(path, [uri_column, *keep], _csv_columns(file, path))
            options = pa_csv.ConvertOptions(include_columns=list(keep))
            table = pa_csv.read_csv(
                file, parse_options=_csv_options(path, []), convert_options=options
            )
            return pa.schema([_plain_field(field) for field in table.schema])
        values: dict[str, list[Any]] = {name: [] for name in keep}
        seen: set[str] = set()
        for row, _ in _json_rows(file):
            seen.update(row)
            for name in keep:
                values[name].append(row.get(name))
        _check_columns(path, [uri_column, *keep], sorted(seen))
        return pa.schema([_inferred(path, name, values[name]) for name in keep])


class _opened:  # noqa: N801 - reads like contextlib.closing
    """The list, opened; whatever goes wrong while it is read becomes a ListError."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> BinaryIO:
        try:
            self._file = store_for(self._path).open(self._path)
        except OSError as error:
            raise ListError(f"{self._path} can't be read: {error.strerror or error}") from error
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, pa.ArrowException | UnicodeDecodeError | OSError):
            text = " ".join(str(error).split())
            raise ListError(f"{self._path} can't be read: {text}") from error


def _entry(path: str, number: int, uri: str | None, error: str, kept: Kept | None) -> Entry:
    if error or not uri:
        return Entry(f"{path}#{number}", error or f"row {number} of {path} has no uri", kept)
    try:
        return Entry(_absolute(uri, path), "", kept)
    except InputError as wrong:
        return Entry(uri, str(wrong), kept)


def _absolute(uri: str, path: str) -> str:
    if _SCHEME.match(uri):
        return normalize(uri)
    if is_remote(path) and not uri.startswith("/"):
        return posixpath.join(posixpath.dirname(path), uri)
    return os.path.normpath(os.path.join(os.path.dirname(path), uri))


def _text_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[_Rows]:
    for number, line in enumerate(file):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        uri = os.fsdecode(text.rstrip(b"\r\n"))
        if uri.strip():
            yield _Rows([uri], [])


def _csv_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[_Rows]:
    _check_columns(path, [uri_column, *kept.names], _csv_columns(file, path))
    types = {field.name: field.type for field in kept} | {uri_column: pa.string()}
    bad: list[str] = []
    reader = pa_csv.open_csv(
        file,
        parse_options=_csv_options(path, bad),
        convert_options=pa_csv.ConvertOptions(include_columns=list(types), column_types=types),
    )
    for batch in reader:
        columns = [to_plain(batch.column(batch.schema.get_field_index(n))) for n in kept.names]
        yield _Rows(batch.column(batch.schema.get_field_index(uri_column)).to_pylist(), columns)
    if bad:
        yield _Rows([None] * len(bad), [[None] * len(bad)] * len(kept), bad)


def _csv_options(path: str, bad: list[str]) -> pa_csv.ParseOptions:
    def note(row: Any) -> str:
        bad.append(
            f"a row with {row.actual_columns} values instead of {row.expected_columns}: {row.text}"
        )
        return "skip"

    tabs = path.lower().endswith(".tsv")
    return pa_csv.ParseOptions(
        delimiter="\t" if tabs else ",", newlines_in_values=True, invalid_row_handler=note
    )


def _csv_columns(file: BinaryIO, path: str) -> list[str]:
    """The names in the first row; the file is at its start again afterwards."""
    head = file.read(1 << 20)
    file.seek(0)
    if not head.strip():
        raise ListError(f"{path} is empty; expected a first row with the names of its columns")
    options = _csv_options(path, [])
    reader = pa_csv.open_csv(io.BytesIO(head.partition(b"\n")[0] + b"\n"), parse_options=options)
    return list(reader.schema.names)


def _json_rows(file: BinaryIO) -> Iterator[tuple[dict[str, Any], str]]:
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
    file: BinaryIO, path: str, uri_column: str, kept: pa.Schema
) -> Iterator[_Rows]:
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    named = False
    for row, error in _json_rows(file):
        named = named or uri_column in row
        rows.append(row)
        errors.append(error)
        if len(rows) == _BATCH_ROWS:
            yield _json_batch(rows, errors, uri_column, kept)
            rows, errors = [], []
    if not named and (rows or errors):
        found = sorted({name for row in rows for name in row})
        _check_columns(path, [uri_column], found)
    yield _json_batch(rows, errors, uri_column, kept)


def _json_batch(
    rows: list[dict[str, Any]], errors: list[str], uri_column: str, kept: pa.Schema
) -> _Rows:
    columns = [
        to_plain(to_arrow([row.get(field.name) for row in rows], field.type)) for field in kept
    ]
    uris = [row.get(uri_column) for row in rows]
    wrong = [
        error or ("" if uri is None or isinstance(uri, str) else f"the uri is no text: {uri!r}")
        for uri, error in zip(uris, errors, strict=True)
    ]
    return _Rows([uri if isinstance(uri, str) else None for uri in uris], columns, wrong)


def _parquet_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[_Rows]:
    opened = pq.ParquetFile(file)
    _check_columns(path, [uri_column, *kept.names], opened.schema_arrow.names)
    for batch in opened.iter_batches(_BATCH_ROWS, columns=[uri_column, *kept.names]):
        uris = batch.column(batch.schema.get_field_index(uri_column)).cast(pa.string())
        columns = [
            to_plain(batch.column(batch.schema.get_field_index(field.name)).cast(field.type))
            for field in kept
        ]
        yield _Rows(uris.to_pylist(), columns)


_READERS: dict[str, Callable[[BinaryIO, str, str, pa.Schema], Iterator[_Rows]]] = {
    TEXT: _text_rows,
    CSV: _csv_rows,
    JSON_LINES: _json_lines_rows,
    PARQUET: _parquet_rows,
}


def _check_columns(path: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            raise ListError(
                f"{path} has no column {name!r}; it has {', '.join(found) or 'none'}. Name the "
                "column of uris with --uri-column and those to carry over with --keep"
            )


def _plain_field(field: pa.Field) -> pa.Field:
    """Without a dictionary, and nullable: rows of other inputs have no value."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        kind = pa.string()
    return pa.field(field.name, kind)


def _inferred(path: str, name: str, values: list[Any]) -> pa.Field:
    try:
        return _plain_field(pa.field(name, pa.array(values).type))
    except pa.ArrowException as error:
        raise ListError(f"{path}: the values of {name!r} are of several types ({error})") from error
