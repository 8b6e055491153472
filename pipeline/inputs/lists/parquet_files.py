"""Lists in Parquet: a manifest with typed columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inputs.lists.base import BATCH_ROWS, ListError, Rows, carried_values, check_names
from pipeline.inputs.uris import brief
from pipeline.options import ListOptions
from pipeline.records import Note


def rows(
    file: BinaryIO, path: str, options: ListOptions, carried: pa.Schema, notes: list[Note]
) -> Iterator[Rows]:
    """A row per row of the file; see base.Kind."""
    opened = pq.ParquetFile(file)
    check_names(path, options, carried.names, opened.schema_arrow.names)
    wanted = [options.uri_column, *carried.names]
    before = 0
    for batch in opened.iter_batches(BATCH_ROWS, columns=wanted):
        for name in set(wanted) - set(batch.schema.names):  # a struct without fields
            kind = opened.schema_arrow.field(name).type
            raise ListError(f"{path}: column {name!r} holds no values, its type is {kind}")
        uris = _uris(batch.column(batch.schema.get_field_index(options.uri_column)))

        def where(row: int, uris: list[str | None] = uris, before: int = before) -> str:
            return f"row {before + row + 1} ({brief(uris[row])})"

        columns = [
            carried_values(path, batch.column(field.name), field, where, options)
            for field in carried
        ]
        yield Rows(uris, columns)
        before += len(uris)


def carried_types(
    file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]
) -> list[pa.DataType]:
    """See base.Kind. The types are those in the file."""
    schema = pq.read_schema(file)
    check_names(path, options, keep, schema.names)
    return [schema.field(name).type for name in keep]


def check_columns(file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]) -> None:
    """See base.Kind."""
    check_names(path, options, keep, pq.read_schema(file).names)


def _uris(column: pa.Array) -> list[str | None]:
    """Uris of a column of text, or of bytes that may be no text."""
    if pa.types.is_dictionary(column.type):
        return _uris(column.dictionary_decode())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None if uri is None else os.fsdecode(uri) for uri in column.to_pylist()]
    uris: list[str | None] = column.cast(pa.string()).to_pylist()
    return uris
