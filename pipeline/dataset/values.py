"""Values of carried columns on their way through the job: plain Python, equal to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def to_plain(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column as Python values; times as whole numbers, since Python's have fewer digits."""
    number = _as_number(column.type)
    values: list[Any] = (column.cast(number) if number else column).to_pylist()
    return values


def to_arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The way back; also takes what Arrow itself turns into the type."""
    number = _as_number(kind)
    if number and all(value is None or isinstance(value, int) for value in values):
        return pa.array(values, number).cast(kind)
    return pa.array(values, kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A type that any reader of Parquet takes, with nulls in it, for a type of a manifest.

    Dictionaries are resolved, views copied, lists of fixed size become lists (a null among them
    makes a file that pyarrow itself can't read), and a column without any value becomes text.
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


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether values are the same; a NaN is the same as a NaN."""
    return repr(one) == repr(other)


def _as_number(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_time32(kind) else None
