"""Lists of images: a text file of uris, or a manifest in CSV, JSON Lines or Parquet.

A manifest has a column of uris, and columns that are carried into the dataset. Relative uris
start at the list's own folder.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.storage.registry import is_remote, normalize, store_for
from pipeline.dataset.values import plain_type
from pipeline.inputs.file_kinds import CSV, PARQUET, TEXT, list_kind
from pipeline.inputs.lists.base import (
    READERS,
    ListError,
    check_names,
    csv_table,
    csv_types,
    json_rows,
)
from pipeline.records import Carried

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Entry(NamedTuple):
    """One image that a list names.

    Attributes:
        path: absolute, or gs://; the list and the row where there is no such path.
        error: why it can't be an image; empty if it can.
        carried: values of the carried columns, in the order of the schema that was asked for.
    """

    path: str
    error: str
    carried: Carried | None


def read_list(path: str, uri_column: str, carried: pa.Schema) -> Iterator[Entry]:
    """The entries of a list, in its order.

    Args:
        path: absolute, or gs://.
        uri_column: that holds the uris; of no meaning for a text file.
        carried: the columns to carry over, with the types to give them.

    Raises:
        ListError: the list has no such column, or can't be read to its end.
    """
    number = 0
    with _opened(path) as file:
        for rows in READERS[list_kind(path)](file, path, uri_column, carried):
            for row, uri in enumerate(rows.uris):
                number += 1
                values = tuple(column[row] for column in rows.carried) if rows.carried else None
                error = rows.errors[row] if rows.errors else ""
                place = (rows.places[row] if rows.places else "") or str(number)
                yield _entry(path, place, uri, error, values)


def check_columns(path: str, uri_column: str) -> None:
    """See to it that a list can be read at all and has a column of uris; reads only its beginning.

    Raises:
        ListError: it can't, or has not.
    """
    with _opened(path) as file:
        kind = list_kind(path)
        if kind == PARQUET:
            check_names(path, [uri_column], pq.read_schema(file).names)
        elif kind == CSV:
            check_names(path, [uri_column], csv_table(file, path)[0])


def carried_types(path: str, uri_column: str, keep: Sequence[str]) -> pa.Schema:
    """The types of the columns that a list carries over. Reads the whole list, unless Parquet.

    Raises:
        ListError: the list has no such column, or can't be read.
    """
    with _opened(path) as file:
        kind = list_kind(path)
        if kind == TEXT:
            raise ListError(f"{path} is a plain list of uris: it has no columns to keep")
        if kind == PARQUET:
            schema = pq.read_schema(file)
            check_names(path, [uri_column, *keep], schema.names)
            return pa.schema([_plain_field(schema.field(name)) for name in keep])
        if kind == CSV:
            found = csv_types(file, path, uri_column, keep)
            return pa.schema([_plain_field(field) for field in found])
        values: dict[str, list[Any]] = {name: [] for name in keep}
        seen: set[str] = set()
        for row, _ in json_rows(file):
            seen.update(row)
            for name in keep:
                values[name].append(row.get(name))
        check_names(path, [uri_column, *keep], sorted(seen))
        return pa.schema([_inferred(path, name, values[name]) for name in keep])


class _opened:  # noqa: N801 - reads like contextlib.closing
    """The list, opened; whatever goes wrong while it is read becomes a ListError."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> BinaryIO:
        try:
            self._file = store_for(self._path).open(self._path)
        except OSError as error:
            raise ListError(f"{self._path} can't be read: {error.strerror or error}") from error
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, pa.ArrowException | UnicodeError | OverflowError | OSError):
            text = " ".join(str(error).split())
            raise ListError(f"{self._path} can't be read: {text}") from error


def _entry(path: str, place: str, uri: str | None, error: str, carried: Carried | None) -> Entry:
    if error or not uri:
        return Entry(f"{path}#{place}", error or f"row {place} of {path} has no uri", carried)
    try:
        return Entry(_absolute(uri, path), "", carried)
    except (InputError, UnicodeError) as wrong:
        return Entry(f"{path}#{place}", str(wrong), carried)


def _absolute(uri: str, path: str) -> str:
    if _SCHEME.match(uri):
        found = normalize(uri)
    elif is_remote(path) and not uri.startswith("/"):
        scheme, _, place = posixpath.dirname(path).partition("://")
        bucket, _, folder = place.partition("/")
        found = f"{scheme}://{bucket}{posixpath.normpath(posixpath.join('/', folder, uri))}"
    else:
        found = os.path.normpath(os.path.join(os.path.dirname(path), uri))
    if is_remote(found):
        found.encode()  # names in a bucket are UTF-8
    os.fsencode(found)  # of a path, other bytes stand as os.fsdecode gives them
    return found


def _plain_field(field: pa.Field) -> pa.Field:
    """Nullable: rows of other inputs have no value."""
    return pa.field(field.name, plain_type(field.type))


def _inferred(path: str, name: str, values: list[Any]) -> pa.Field:
    try:
        return _plain_field(pa.field(name, pa.array(values).type))
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise ListError(
            f"{path}: the values of {name!r} are not all of one type that Arrow has ({error})"
        ) from error
