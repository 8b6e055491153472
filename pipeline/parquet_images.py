"""Images in a column of Parquet files: bytes, or a struct with a field "bytes"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.archives import ArchiveError, Member, Packing
from pipeline.records import Image
from pipeline.values import to_plain

_READ_ROWS = 8  # images at a time, however large
_INDEX_ROWS = 65536


def index(file: BinaryIO, packing: Packing) -> Iterator[Member]:
    """Every row, by its number or by the packing's id_field; see pipeline.archives.Kind."""
    opened = pq.ParquetFile(file)
    find_image_column(opened.schema_arrow, packing.image_field)
    wanted = [packing.id_field] if packing.id_field else []
    wanted += [name for name in packing.kept.names if name in opened.schema_arrow.names]
    missing = [name for name in wanted if name not in opened.schema_arrow.names]
    if missing:
        raise ArchiveError(
            f"no column {missing[0]!r}; the file has {', '.join(opened.schema_arrow.names)}"
        )
    number = 0
    for group in range(opened.num_row_groups):
        rows = opened.metadata.row_group(group).num_rows
        names, kept = _columns_of(opened, group, rows, wanted, packing)
        for row in range(rows):
            name = str(number) if names is None else str(names[row])
            values = tuple(column[row] for column in kept) if kept else None
            yield Member(name, 0, row, group, kept=values)
            number += 1


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See pipeline.archives.Kind. A segment is a row group."""
    opened = pq.ParquetFile(file)
    column = find_image_column(opened.schema_arrow, packing.image_field)
    nested = pa.types.is_struct(opened.schema_arrow.field(column).type)
    values: list[bytes | None] = []
    start, batches = 0, None
    for image in wanted:
        if batches is None:
            batches = opened.iter_batches(
                _READ_ROWS,
                row_groups=[image.segment],
                columns=[f"{column}.bytes" if nested else column],
            )
        while image.place >= start + len(values):
            start += len(values)
            batch = next(batches).column(0)
            values = (batch.field("bytes") if nested else batch).to_pylist()
        value = values[image.place - start]
        yield image, ArchiveError("the row has no image") if value is None else value


def find_image_column(schema: pa.Schema, name: str) -> str:
    """The column that holds image files.

    Args:
        schema: of the file.
        name: of the column; "" to take the only one that can be.

    Raises:
        ArchiveError: there is no such column, or several.
    """
    found: list[str] = [field.name for field in schema if _holds_bytes(field.type)]
    if name in found:
        return name
    if name or len(found) != 1:
        wanted = repr(name) if name else "to take for images"
        raise ArchiveError(
            f"no column of bytes {wanted}; columns of bytes are: {', '.join(found) or 'none'}, "
            f"and all columns: {', '.join(schema.names)}. Name one with --image-feature"
        )
    return found[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _columns_of(
    opened: pq.ParquetFile, group: int, rows: int, wanted: list[str], packing: Packing
) -> tuple[list[Any] | None, list[list[Any]]]:
    """Names of the images of a row group (None: their numbers), and the columns to carry over."""
    if not wanted:
        return None, []
    table = opened.read_row_group(group, columns=wanted)
    names = table.column(packing.id_field).to_pylist() if packing.id_field else None
    kept = [
        to_plain(table.column(field.name).combine_chunks().cast(field.type))
        if field.name in table.schema.names
        else [None] * rows
        for field in packing.kept
    ]
    return names, kept
