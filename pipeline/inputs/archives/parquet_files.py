"""Images in a column of a Parquet file: bytes, or structs with a field "bytes"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.values import to_plain
from pipeline.inputs.archives.base import ArchiveError, Member, Packing
from pipeline.records import Image

_READ_ROWS = 8  # images in memory at a time, since they may be large
_BUFFER_BYTES = 1 << 20  # without a buffer size, pyarrow reads the whole column first
_USUAL = ("image", "image_bytes", "img", "bytes", "content", "data", "jpg", "jpeg", "png")


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
    number = 0
    for group in range(opened.num_row_groups):
        rows = opened.metadata.row_group(group).num_rows
        names, carried = _columns_of(opened, group, rows, wanted, packing)
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
            column_of_bytes = batch.field("bytes") if nested else batch
            values = column_of_bytes.cast(pa.large_binary()).to_pylist()
        value = values[image.place - start]
        yield image, ArchiveError("the row has no image") if value is None else value


def find_image_column(schema: pa.Schema, name: str | None) -> str:
    """The name of the column that holds image files.

    Args:
        schema: the file's schema.
        name: the column's name. None means the only column of bytes, or the only one with a
            usual name.

    Raises:
        ArchiveError: there is no such column, or there are several.
    """
    found: list[str] = [field.name for field in schema if _holds_bytes(field.type)]
    usual = [each for each in found if each in _USUAL]
    if name in found:
        return name
    if not name and len(usual) == 1:
        return usual[0]
    if name or len(found) != 1:
        wanted = repr(name) if name else "to take for images"
        raise ArchiveError(
            f"no column of bytes {wanted}; columns of bytes are: {', '.join(found) or 'none'}, "
            f"and all columns: {', '.join(schema.names)}. Name one with --image-feature"
        )
    return found[0]


def is_manifest(schema: pa.Schema, uri_column: str, image_field: str | None) -> bool:
    """Whether a Parquet file is a list of images, and not an archive of them, by its columns.

    A file without a column of bytes is a list. A file with columns of bytes is a list if it has a
    column of uris and no column of bytes is image_field, has a usual name or holds structs.
    """
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if not found or uri_column not in schema.names:
        return not found
    return image_field not in found and not any(
        name in _USUAL or pa.types.is_struct(schema.field(name).type) for name in found
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in binary)


def _columns_of(
    opened: pq.ParquetFile, group: int, rows: int, wanted: list[str], packing: Packing
) -> tuple[list[object] | None, list[list[object]]]:
    """A row group's names of images, None to number them, and its carried columns."""
    if not wanted:
        return None, []
    table = opened.read_row_group(group, columns=wanted)
    names = table.column(packing.id_field).to_pylist() if packing.id_field else None
    carried: list[list[object]] = [
        to_plain(table.column(field.name).combine_chunks().cast(field.type))
        if field.name in table.schema.names
        else [None] * rows
        for field in packing.carried
    ]
    return names, carried
