"""The rows of a list of images, whatever kind of file it is."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.names import CSV, JSON_LINES, PARQUET, TEXT
from pipeline.values import to_arrow, to_plain

_BATCH_ROWS = 65536
# One thread, so that bad rows are told by their lines; a row may be as long as a block.
READ = pa_csv.ReadOptions(use_threads=False, block_size=16 << 20)


class ListError(ValueError):
    """A list can't be read; nothing may be concluded from it."""


class Rows(NamedTuple):
    """Some rows of a list: texts of uris (None: there is none), and the carried columns.

    Errors say why a row can't be used. Places name rows by something else than their number.
    """

    uris: Sequence[str | None]
    kept: Sequence[Sequence[Any]]
    errors: Sequence[str] = ()
    places: Sequence[str] = ()


def _text_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[Rows]:
    for number, line in enumerate(file):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        uri = os.fsdecode(text.rstrip(b"\r\n"))
        if uri.strip():
            yield Rows([uri], [])


def _csv_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[Rows]:
    check_names(path, [uri_column, *kept.names], csv_columns(file, path))
    types = {field.name: field.type for field in kept} | {uri_column: pa.binary()}
    bad: dict[str, str] = {}
    options = pa_csv.ConvertOptions(include_columns=list(types), column_types=types)
    for batch in pa_csv.open_csv(file, READ, csv_options(path, bad), options):
        columns = [to_plain(batch.column(batch.schema.get_field_index(n))) for n in kept.names]
        uris = batch.column(batch.schema.get_field_index(uri_column)).to_pylist()
        yield Rows([os.fsdecode(uri) for uri in uris], columns)
    nothing = [None] * len(bad)
    yield Rows(nothing, [nothing] * len(kept), list(bad.values()), list(bad))


def csv_options(path: str, bad: dict[str, str]) -> pa_csv.ParseOptions:
    """How a list in CSV is parsed; rows of another length go into `bad`, by their line."""

    def note(row: Any) -> str:
        place = f"line-{row.number or len(bad) + 1}"
        bad[place] = (
            f"a row with {row.actual_columns} values instead of {row.expected_columns}: {row.text}"
        )
        return "skip"

    tabs = path.lower().endswith(".tsv")
    return pa_csv.ParseOptions(
        delimiter="\t" if tabs else ",", newlines_in_values=True, invalid_row_handler=note
    )


def csv_columns(file: BinaryIO, path: str) -> list[str]:
    """The names in the first row; the file is at its start again afterwards."""
    head = file.read(READ.block_size)
    file.seek(0)
    if not head.strip():
        raise ListError(f"{path} is empty; expected a first row with the names of its columns")
    text = pa_csv.ConvertOptions(check_utf8=False)
    with pa_csv.open_csv(io.BytesIO(head), READ, csv_options(path, {}), text) as reader:
        names = list(reader.schema.names)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ListError(f"{path} has several columns {twice[0]!r}; rename them")
    return names


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


def _json_lines_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[Rows]:
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    named = False
    for row, error in json_rows(file):
        named = named or uri_column in row
        rows.append(row)
        errors.append(error)
        if len(rows) == _BATCH_ROWS:
            yield _json_batch(rows, errors, uri_column, kept)
            rows, errors = [], []
    if not named and (rows or errors):
        found = sorted({name for row in rows for name in row})
        check_names(path, [uri_column], found)
    yield _json_batch(rows, errors, uri_column, kept)


def _json_batch(
    rows: list[dict[str, Any]], errors: list[str], uri_column: str, kept: pa.Schema
) -> Rows:
    columns = [
        to_plain(to_arrow([row.get(field.name) for row in rows], field.type)) for field in kept
    ]
    uris = [row.get(uri_column) for row in rows]
    wrong = [
        error or ("" if uri is None or isinstance(uri, str) else f"the uri is no text: {uri!r}")
        for uri, error in zip(uris, errors, strict=True)
    ]
    return Rows([uri if isinstance(uri, str) else None for uri in uris], columns, wrong)


def _parquet_rows(file: BinaryIO, path: str, uri_column: str, kept: pa.Schema) -> Iterator[Rows]:
    opened = pq.ParquetFile(file)
    check_names(path, [uri_column, *kept.names], opened.schema_arrow.names)
    for batch in opened.iter_batches(_BATCH_ROWS, columns=[uri_column, *kept.names]):
        uris = batch.column(batch.schema.get_field_index(uri_column)).cast(pa.string())
        columns = [
            to_plain(batch.column(batch.schema.get_field_index(field.name)).cast(field.type))
            for field in kept
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
