"""Lists in JSON Lines: an object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from pipeline.dataset.values import to_arrow, to_plain
from pipeline.inputs.lists.base import BATCH_ROWS, ListError, Rows, check_names

_Object = dict[str, object]


def rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    """A row per line; a line without a JSON object is a row with an error. See base.Kind."""
    batch: list[tuple[_Object, str | None]] = []
    has_uris = False
    for each in _objects(file):
        has_uris = has_uris or uri_column in each[0]
        batch.append(each)
        if len(batch) == BATCH_ROWS:
            yield _rows_of(batch, uri_column, carried)
            batch = []
    if not has_uris and batch:
        check_names(path, [uri_column], sorted({name for row, _ in batch for name in row}))
    yield _rows_of(batch, uri_column, carried)


def carried_types(
    file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]
) -> list[pa.Field]:
    """See base.Kind. Arrow infers the types from all values."""
    values: dict[str, list[object]] = {name: [] for name in keep}
    seen: set[str] = set()
    for row, _ in _objects(file):
        seen.update(row)
        for name in keep:
            values[name].append(row.get(name))
    check_names(path, [uri_column, *keep], sorted(seen))
    return [_inferred(path, name, values[name]) for name in keep]


def check_columns(file: BinaryIO, path: str, uri_column: str) -> None:
    """Do nothing: the columns are known only after reading all rows."""


def _objects(file: BinaryIO) -> Iterator[tuple[_Object, str | None]]:
    """The object in each line that is not blank; or an empty one and why the line has none."""
    for line in file:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield (row, None) if isinstance(row, dict) else ({}, "a row that is no JSON object")
        except ValueError as error:
            yield {}, f"a row that is no JSON: {error}"


def _rows_of(batch: list[tuple[_Object, str | None]], uri_column: str, carried: pa.Schema) -> Rows:
    columns = [
        to_plain(to_arrow([row.get(field.name) for row, _ in batch], field.type))
        for field in carried
    ]
    uris = [row.get(uri_column) for row, _ in batch]
    errors = [
        error or (None if uri is None or isinstance(uri, str) else f"the uri is no text: {uri!r}")
        for uri, (_, error) in zip(uris, batch, strict=True)
    ]
    return Rows([uri if isinstance(uri, str) else None for uri in uris], columns, errors)


def _inferred(path: str, name: str, values: list[object]) -> pa.Field:
    try:
        return pa.field(name, pa.array(values).type)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise ListError(
            f"{path}: the values of {name!r} are not all of one type that Arrow has ({error})"
        ) from error
