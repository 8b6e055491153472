"""Convert values of carried columns from Arrow to Python and back, without loss.

Carried values travel through the job as plain Python values.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def to_plain(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Convert a column to Python values.

    Timestamps, durations and times become whole numbers in the column's unit, since Python's own
    types have no nanoseconds.
    """
    number = _as_number(column.type)
    values: list[object] = (column.cast(number) if number else column).to_pylist()
    return values


def to_arrow(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    """The inverse of to_plain. Also takes values that pyarrow itself converts to the type."""
    number = _as_number(kind)
    if number and all(value is None or isinstance(value, int) for value in values):
        return pa.array(values, number).cast(kind)
    return pa.array(values, kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type in the dataset for a carried column of some type; all Parquet readers know it.

    Dictionaries become their values' type, views become strings or binary, lists of any form
    become lists (with a null in a fixed-size list, pyarrow can't read its own file), and columns
    of nulls become strings.
    """
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_null(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(each.name, plain_type(each.type)) for each in kind])
    if types.is_nested(kind) and hasattr(kind, "value_type"):
        return pa.list_(plain_type(kind.value_type))
    return kind


def same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether values are the same, with the same types; a NaN equals a NaN."""
    return repr(one) == repr(other)


def _as_number(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_time32(kind) else None
