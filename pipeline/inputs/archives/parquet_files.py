"""Images in a column of a Parquet file: bytes, or structs with a field "bytes"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.values import MisfitError, fitted, to_plain
from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, Member, Packing
from pipeline.inputs.archives.image_columns import find_image_column, images_of
from pipeline.inputs.lists.column_types import misfit
from pipeline.records import Image

_READ_ROWS = 8  # images in memory at a time, since they may be large
_BUFFER_BYTES = 1 << 20  # without a buffer size, pyarrow reads the whole column first


def index(file: BinaryIO, packing: Packing) -> Iterator[Member]:
    """Every row, named by its number or by the column id_field; see base.Kind."""
    opened = pq.ParquetFile(file)
    find_image_column(opened.schema_arrow, packing.image_field)
    wanted = [packing.id_field] if packing.id_field else []
    wanted += [name for name in packing.carried.names if name in opened.schema_arrow.names]
    missing = [name for name in wanted if name not in opened.schema_arrow.names]
    if missing:
        raise ArchiveError(
            f"no column {missing[0]!r}; the file has {', '.join(opened.schema_arrow.names)}"
        )
    number = 0  # of the row in the file
    for group in range(opened.num_row_groups):
        rows = opened.metadata.row_group(group).num_rows
        names, carried = _columns_of(opened, group, number, wanted, packing)
        for row in range(rows):
            value = number if names is None else names[row]
            yield Member(
                name=str(number) if value is None else _text(value),
                bytes=0,
                place=row,
                segment=group,
                error="the row has no id" if value is None else None,
                carried=tuple(column[row] for column in carried) if carried else None,
            )
            number += 1


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See base.Kind. A segment is a row group."""
    opened = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
    column = find_image_column(opened.schema_arrow, packing.image_field)
    nested = pa.types.is_struct(opened.schema_arrow.field(column).type)
    values: list[bytes | ArchiveError] = []
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
            values = images_of(next(batches).column(0))
        yield image, values[image.place - start]


def check_carried(file: BinaryIO, path: str, packing: Packing) -> None:
    """Check that all values of the carried columns fit into the types of these. Reads them all.

    Raises:
        JobError: a value does not fit.
    """
    opened = pq.ParquetFile(file)
    number = 0
    for batch in opened.iter_batches(columns=list(packing.carried.names)):
        for field in packing.carried:
            _fitted(batch.column(field.name), field, packing, f"{path}, row", number)
        number += len(batch)


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _columns_of(
    opened: pq.ParquetFile, group: int, before: int, wanted: list[str], packing: Packing
) -> tuple[list[object] | None, list[list[object]]]:
    """A row group's names of images, None to number them, and its carried columns."""
    if not wanted:
        return None, []
    table = opened.read_row_group(group, columns=wanted)
    names = table.column(packing.id_field).to_pylist() if packing.id_field else None
    carried: list[list[object]] = [
        _fitted(table.column(field.name), field, packing, "row", before)
        if field.name in table.schema.names
        else [None] * len(table)
        for field in packing.carried
    ]
    return names, carried


def _fitted(
    column: pa.Array | pa.ChunkedArray, field: pa.Field, packing: Packing, row: str, before: int
) -> list[object]:
    """Values of a carried column, converted to its type.

    Raises:
        JobError: a value does not fit.
    """
    try:
        return to_plain(fitted(column, field.type, field.name in packing.parsed))
    except MisfitError as error:
        raise JobError(misfit(f"{row} {before + error.row}", field, error.value)) from error
