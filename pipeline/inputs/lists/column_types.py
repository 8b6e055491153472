"""The types of carried columns: by name, for the values of several files, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from encoder.errors import InputError
from pipeline.dataset.values import plain_type
from pipeline.inputs.uris import brief, readable

_NAMES = {
    "text": pa.string(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def parse_types(column_types: Iterable[tuple[str, str]], keep: Iterable[str]) -> pa.Schema:
    """The types that ``--column-type`` names.

    Args:
        column_types: pairs of a column's name and a type's name: string or text, int64, uint64,
            float64 or double, bool, date, timestamp, or another name that pyarrow has.
        keep: the columns that are carried.

    Raises:
        InputError: there is no such type, a column is not carried, it gets two types, or its name
            is not UTF-8.
    """
    kinds: dict[str, pa.DataType] = {}
    for name, text in column_types:
        option = f"--column-type {name}={text}"
        if name not in set(keep):
            raise InputError(f"{option}: --keep does not name the column {name!r}")
        if readable(name) != name:
            raise InputError(f"{option}: the name of the column is not UTF-8: {name!r}")
        try:
            known = text.lower() in _NAMES
            kind = _NAMES[text.lower()] if known else plain_type(pa.type_for_alias(text))
        except ValueError as error:
            raise InputError(
                f"{option}: {text!r} is no type; expected string, int64, uint64, float64, bool, "
                "date, timestamp or another name that pyarrow.type_for_alias takes"
            ) from error
        if kinds.setdefault(name, kind) != kind:
            raise InputError(f"{option}: another --column-type says {kinds[name]} for {name!r}")
    return pa.schema(list(kinds.items()))


def joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type for values of two types; text if no other takes all of them.

    The values may still not fit: of whole numbers and floats come float64, of signed and unsigned
    64-bit numbers come unsigned ones, and timestamps get the finer unit.
    """
    types = pa.types
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    both = (one, other)
    if all(map(types.is_integer, both)) and pa.uint64() in both:
        return pa.uint64()
    if any(map(types.is_binary, both)) and any(map(types.is_string, both)):
        return pa.string()
    if any(map(types.is_integer, both)) and any(map(types.is_floating, both)):
        return pa.float64()
    try:
        schemas = [pa.schema([("values", kind)]) for kind in both]
        found = pa.unify_schemas(schemas, promote_options="permissive").field(0)
    except pa.ArrowException:
        return pa.string()
    return found.type


def misfit(place: str, field: pa.Field, value: str) -> str:
    """What is wrong with a value that does not fit into its column's type, and the ways on."""
    return readable(
        f"{place}: the column {field.name!r} is carried as {field.type}, and {brief(value)} "
        f"would not come back from that unchanged. --column-type {field.name}=string makes the "
        f"column text, for all its rows; --column-type {field.name}=TYPE with another type takes "
        "texts by their meaning, such as 00501 as 501; or carry these values under another name"
    )
