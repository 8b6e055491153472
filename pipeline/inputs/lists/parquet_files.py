"""Lists in Parquet: a manifest with typed columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.values import to_plain
from pipeline.inputs.lists.base import BATCH_ROWS, Rows, check_names


def rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    """A row per row of the file; see base.Kind."""
    opened = pq.ParquetFile(file)
    check_names(path, [uri_column, *carried.names], opened.schema_arrow.names)
    for batch in opened.iter_batches(BATCH_ROWS, columns=[uri_column, *carried.names]):
        uris = batch.column(batch.schema.get_field_index(uri_column)).cast(pa.string())
        columns = [
            to_plain(batch.column(batch.schema.get_field_index(field.name)).cast(field.type))
            for field in carried
        ]
        yield Rows(uris.to_pylist(), columns)


def carried_types(
    file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]
) -> list[pa.Field]:
    """See base.Kind. The types are those in the file."""
    schema = pq.read_schema(file)
    check_names(path, [uri_column, *keep], schema.names)
    return [schema.field(name) for name in keep]


def check_columns(file: BinaryIO, path: str, uri_column: str) -> None:
    """See base.Kind."""
    check_names(path, [uri_column], pq.read_schema(file).names)
