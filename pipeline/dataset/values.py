"""Convert values of carried columns: from Arrow to Python and back, and to another type.

Carried values travel through the job as plain Python values. No conversion loses anything: a value
that would not come back from its new type is an error.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import json
import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_MOST_DIGITS = 40  # of a whole number in text; more fit no type
_SHOWN = 80  # characters of a value in an error


class MisfitError(ValueError):
    """A value can't become the type of its column without loss.

    Args:
        row: the number of the value in its column, from 0.
        value: the value, as text.
        kind: the type of the column.
    """

    def __init__(self, row: int, value: str, kind: pa.DataType) -> None:
        super().__init__(f"{value!r} in row {row} does not fit into {kind}")
        self.row = row
        self.value = value
        self.kind = kind


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


def fitted(
    column: pa.Array | pa.ChunkedArray, kind: pa.DataType, parse: bool = False
) -> pa.Array | pa.ChunkedArray:
    """The column with another type, without loss: each value would come back the same.

    Text takes everything: numbers as Python writes them, dates and times in ISO 8601, nested values
    as JSON, bytes that are UTF-8. Text becomes a number or a truth value only if these would be
    written as the same text (a whole number also as a float), and a date or time if it is in
    ISO 8601. Nulls stay nulls, NaN stays NaN.

    Args:
        column: the values.
        kind: the new type.
        parse: take text by its meaning: ``" 5.0"`` is 5, ``"00501"`` is 501, ``"True"`` is true,
            and blank text is null. A fraction becomes the nearest float.

    Returns:
        an array, or a chunked array for a chunked one.

    Raises:
        MisfitError: a value does not fit; the error names the first one.
    """
    if column.type == kind:
        return column
    if isinstance(column, pa.ChunkedArray):
        chunks, before = [], 0
        for chunk in column.chunks:
            try:
                chunks.append(fitted(chunk, kind, parse))
            except MisfitError as error:
                raise MisfitError(before + error.row, error.value, kind) from None
            before += len(chunk)
        return pa.chunked_array(chunks, kind)
    if pa.types.is_dictionary(column.type):
        return fitted(column.dictionary_decode(), kind, parse)
    found = _converted(column, kind, parse)
    if found is not None:
        return found
    start, stop = 0, len(column)
    while stop - start > 1:  # the first misfit is in the first half, or all of that half fits
        middle = (start + stop) // 2
        if _converted(column[start:middle], kind, parse) is None:
            stop = middle
        else:
            start = middle
    raise MisfitError(start, _shown(column[start:stop]), kind)


def text_of(value: object) -> str | None:
    """A value as text: what a column of strings holds for it. None stays None.

    Raises:
        UnicodeDecodeError: the value has bytes that are not UTF-8.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=text_of)
    return repr(value) if isinstance(value, float) else str(value)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are text."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _as_number(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_time32(kind) else None


def _converted(column: pa.Array, kind: pa.DataType, parse: bool) -> pa.Array | None:
    """The column with another type; None if a value would not come back."""
    try:
        if column.null_count == len(column):
            return pa.nulls(len(column), kind)
        if is_text(kind):
            return _texts(column).cast(kind)
        if is_text(column.type):
            return _parsed(column.to_pylist(), kind, parse)
        family = _family(kind)
        if family is None or family != _family(column.type):
            return None
        if pa.types.is_integer(column.type) and pa.types.is_decimal(kind):
            # Arrow demands room for every number of the type, not only for those that there are.
            found = column.cast(pa.decimal128(20)).cast(kind)
        else:
            found = column.cast(kind)
        if pa.types.is_nested(kind):
            return found if _equal(found.to_pylist(), column.to_pylist()) else None
        back = found.cast(column.type)
        whole = back.equals(column) or same(back.to_pylist(), column.to_pylist())  # for NaN
        return found if whole else None
    except (pa.ArrowException, ValueError, OverflowError, decimal.DecimalException):
        return None


def _family(kind: pa.DataType) -> str | None:
    """A name for the types whose values may become each other; None for other types."""
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_date(kind) or (types.is_timestamp(kind) and kind.tz is None):
        return "date"
    tests: dict[str, Callable[[pa.DataType], bool]] = {
        "truth value": types.is_boolean,
        "moment": types.is_timestamp,
        "time": types.is_time,
        "duration": types.is_duration,
        "bytes": _is_bytes,
        "nested": types.is_nested,
    }
    return next((name for name, test in tests.items() if test(kind)), None)


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(kind) for test in (*tests, types.is_binary_view))


def _equal(one: object, other: object) -> bool:
    """Whether nested values are the same; a field that is missing counts as null."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_equal(one.get(name), other.get(name)) for name in {**one, **other})
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    both_nan = one != one and other != other
    return both_nan or (one == other and isinstance(one, bool) == isinstance(other, bool))


def _texts(column: pa.Array) -> pa.Array:
    kind, types = column.type, pa.types
    if types.is_timestamp(kind) or types.is_time(kind):
        texts = pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
        texts = pc.replace_substring_regex(texts, r"\.0+(Z|[+-]\d+)?$", r"\1")
        # Arrow writes a zone as +0100.
        return pc.replace_substring_regex(texts, r"(:.*[+-]\d\d)(\d\d)$", r"\1:\2")
    if types.is_duration(kind):
        numbers = column.cast(pa.int64()).cast(pa.string())
        return pc.binary_join_element_wise(numbers, pa.scalar(kind.unit), " ")
    if types.is_floating(kind):
        values = [None if each is None else _float_text(each, kind) for each in column.to_pylist()]
        return pa.array(values, pa.string())
    if types.is_nested(kind):
        return pa.array([text_of(each) for each in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _float_text(value: float, kind: pa.DataType) -> str:
    """The shortest text that gives the same float of this type again, as Python writes it."""
    if pa.types.is_float64(kind):
        return repr(value)
    return repr(float(str(np.dtype(kind.to_pandas_dtype()).type(value))))


def _parsed(texts: Sequence[str | None], kind: pa.DataType, parse: bool) -> pa.Array | None:
    types = pa.types
    if _is_bytes(kind):
        return pa.array(texts, pa.string()).cast(kind)
    if parse:
        texts = [None if text is None or not text.strip() else text.strip() for text in texts]
    column = pa.array(texts, pa.string())
    if types.is_date(kind) or types.is_timestamp(kind):
        return column.cast(kind)
    if not parse and (types.is_integer(kind) or types.is_boolean(kind)):
        found = column.cast(kind)
        return found if found.cast(pa.string()).equals(column) else None
    read = _reader(kind, parse)
    return pa.array([None if text is None else read(text) for text in texts], kind)


def _reader(kind: pa.DataType, parse: bool) -> Callable[[str], object]:
    """A function that reads one value of a type from text, and raises ValueError if it can't."""
    types = pa.types
    if types.is_boolean(kind):
        return _truth
    if types.is_integer(kind):
        return _whole_number
    if types.is_floating(kind):
        return functools.partial(_float if parse else _exact_float, kind=kind)
    if types.is_decimal(kind):
        return _decimal if parse else _exact_decimal
    if types.is_time(kind):
        return _time
    raise ValueError(f"text can't become {kind}")


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    return known[text.lower()] if text.lower() in known else _no(text)


def _whole_number(text: str) -> int:
    number = _decimal(text)
    whole = abs(number.adjusted()) <= _MOST_DIGITS and number == int(number)
    return int(number) if whole else _no(text)


def _exact_float(text: str, kind: pa.DataType) -> float:
    value = _rounded(float(text), kind)
    # Several whole numbers of more digits become the same float.
    whole = value.is_integer() and abs(value) < _exact_limit(kind) and str(int(value)) == text
    return value if whole or _float_text(value, kind) == text else _no(text)


def _float(text: str, kind: pa.DataType) -> float:
    value = _rounded(float(text), kind) if "_" not in text else _no(text)
    if math.isinf(value) and any(map(str.isdigit, text)):
        return _no(text)
    whole = text.lstrip("+-").isdigit()
    return value if not whole or int(value) == int(text) else _no(text)


def _exact_decimal(text: str) -> decimal.Decimal:
    return _decimal(text) if str(_decimal(text)) == text else _no(text)


def _decimal(text: str) -> decimal.Decimal:
    return decimal.Decimal(text) if "_" not in text else _no(text)


def _time(text: str) -> datetime.time:
    return datetime.time.fromisoformat(text) if ":" in text else _no(text)


def _rounded(value: float, kind: pa.DataType) -> float:
    """The nearest float of a type."""
    with np.errstate(over="ignore"):
        return float(np.dtype(kind.to_pandas_dtype()).type(value))


def _exact_limit(kind: pa.DataType) -> int:
    """The number below which each whole number has a float of a type."""
    return int(2 ** (np.finfo(kind.to_pandas_dtype()).nmant + 1))


def _no(text: str) -> NoReturn:
    raise ValueError(f"{text!r} does not come back")


def _shown(value: pa.Array) -> str:
    """One value as short text, for an error."""
    try:
        text = str(_texts(value)[0].as_py())
    except (pa.ArrowException, ValueError):
        text = repr(value[0].as_py())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
