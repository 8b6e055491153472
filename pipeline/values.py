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


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether values are the same; a NaN is the same as a NaN."""
    return repr(one) == repr(other)


def _as_number(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_time32(kind) else None
