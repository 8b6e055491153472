"""Read lists of images: text files of uris, and manifests in CSV, JSON Lines or Parquet.

A manifest has a column of uris, and may have columns that are carried into the dataset. Relative
uris are relative to the list's folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from encoder.errors import InputError
from encoder.storage.registry import is_remote, resolve, store_for
from pipeline.dataset.values import plain_type
from pipeline.inputs.file_kinds import CSV, JSON_LINES, PARQUET, TEXT, ListKind, list_kind
from pipeline.inputs.lists import csv_files, json_files, parquet_files, text_files
from pipeline.inputs.lists.base import Kind, ListError
from pipeline.records import Carried

_KINDS: dict[ListKind, Kind] = {
    TEXT: text_files,
    CSV: csv_files,
    JSON_LINES: json_files,
    PARQUET: parquet_files,
}


class Entry(NamedTuple):
    """One image that a list names.

    Attributes:
        path: absolute, or an address such as gs://; with an error LIST#ROW.
        error: why the row doesn't name an image; None if it does.
        carried: values of the carried columns, in the order of the schema; None without columns.
    """

    path: str
    error: str | None
    carried: Carried | None


def read_list(path: str, uri_column: str, carried: pa.Schema) -> Iterator[Entry]:
    """The entries of a list, in its order.

    Args:
        path: absolute, or an address such as gs://.
        uri_column: the column of uris; not used for text files.
        carried: the columns to carry over, with the types to convert them to.

    Raises:
        ListError: the list lacks a column, or can't be read to its end.
    """
    number = 0
    with _opened(path) as file:
        for rows in _kind_of(path).rows(file, path, uri_column, carried):
            for row, uri in enumerate(rows.uris):
                number += 1
                values = tuple(column[row] for column in rows.carried) if rows.carried else None
                error = rows.errors[row] if rows.errors else None
                place = (rows.places[row] if rows.places else None) or str(number)
                yield _entry(path, place, uri, error, values)


def check_columns(path: str, uri_column: str) -> None:
    """Check that a list can be read and has a column of uris; reads only its start.

    Raises:
        ListError: the list can't be read or has no such column.
    """
    with _opened(path) as file:
        _kind_of(path).check_columns(file, path, uri_column)


def carried_types(path: str, uri_column: str, keep: Sequence[str]) -> pa.Schema:
    """The types of the columns to carry over from a list. Reads the whole list, unless Parquet.

    Raises:
        ListError: the list lacks a column, or can't be read.
    """
    with _opened(path) as file:
        found = _kind_of(path).carried_types(file, path, uri_column, keep)
    # Nullable: rows of other inputs have no value.
    return pa.schema([pa.field(field.name, plain_type(field.type)) for field in found])


def _kind_of(path: str) -> Kind:
    name = list_kind(path)
    if name is None:
        raise ValueError(f"{path} is not a list of images")
    return _KINDS[name]


class _opened:  # noqa: N801 - reads like contextlib.closing
    """The opened list; errors while it is read become a ListError."""

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


def _entry(
    path: str, place: str, uri: str | None, error: str | None, carried: Carried | None
) -> Entry:
    if error or not uri:
        return Entry(f"{path}#{place}", error or f"row {place} of {path} has no uri", carried)
    try:
        return Entry(_absolute(uri, path), None, carried)
    except (InputError, UnicodeError) as wrong:
        return Entry(f"{path}#{place}", str(wrong), carried)


def _absolute(uri: str, path: str) -> str:
    found = resolve(uri, path.rpartition("/")[0] or "/")
    if is_remote(found):
        found.encode()  # names in a bucket are UTF-8
    os.fsencode(found)  # local paths may have other bytes, as surrogates from os.fsdecode
    return found
