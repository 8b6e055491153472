"""Read lists of images: text files of uris, and manifests in CSV, JSON Lines or Parquet.

A manifest has a column of uris, and may have columns that are carried into the dataset. Relative
uris are relative to the list's folder.
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from encoder.errors import InputError, shortened
from encoder.storage.registry import is_remote, resolve, store_for
from pipeline.dataset.values import plain_type
from pipeline.inputs.file_kinds import CSV, JSON_LINES, PARQUET, TEXT, ListKind, list_kind
from pipeline.inputs.lists import csv_files, json_files, parquet_files, text_files
from pipeline.inputs.lists.base import Kind, ListError
from pipeline.inputs.lists.text_input import unpacked
from pipeline.options import ListOptions
from pipeline.records import Carried, Note

# Paths have at most 4,096 bytes, names in a bucket 1,024; percent-encoding makes three of each.
_LONGEST_URI = 16_384  # characters
# Of damaged Parquet and compressed files, and of stores.
_UNREADABLE = (
    *(pa.ArrowException, OSError, EOFError, zlib.error, lzma.LZMAError),
    *(OverflowError, MemoryError, RecursionError),
)
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


def read_list(
    path: str, options: ListOptions, carried: pa.Schema, notes: list[Note]
) -> Iterator[Entry]:
    """The entries of a list, in its order: one for each row.

    Args:
        path: absolute, or an address such as gs://.
        options: how to read it.
        carried: the columns to carry over, with the types to convert them to.
        notes: gets what there is to tell about the list, at the end.

    Raises:
        ListError: the list lacks a column, a value does not fit into its column's type, or the list
            can't be read to its end.
    """
    number = 0
    with _opened(path) as file:
        for rows in _kind_of(path).rows(file, path, options, carried, notes):
            for row, uri in enumerate(rows.uris):
                number += 1
                values = tuple(column[row] for column in rows.carried) if rows.carried else None
                error = rows.errors[row] if rows.errors else None
                place = (rows.places[row] if rows.places else None) or str(number)
                yield _entry(path, place, uri, error, values)


def check_columns(path: str, options: ListOptions, keep: Sequence[str] = ()) -> None:
    """Check that a list can be read and has the columns of uris and to keep; reads only its start.

    Raises:
        ListError: the list can't be read or has no such column.
    """
    with _opened(path) as file:
        _kind_of(path).check_columns(file, path, options, keep)


def check_values(path: str, options: ListOptions, carried: pa.Schema) -> None:
    """Check that all values of some carried columns fit into the types of these. Reads them all.

    Raises:
        ListError: a value does not fit, or the list can't be read.
    """
    with _opened(path) as file:
        for _ in _kind_of(path).rows(file, path, options, carried, []):
            pass


def carried_types(path: str, options: ListOptions, keep: Sequence[str]) -> pa.Schema:
    """The types of the columns to carry over from a list. Reads the whole list, unless Parquet.

    Returns:
        a field for each column, with a type that all Parquet readers know; null if the column has
        no values.

    Raises:
        ListError: the list lacks a column, or can't be read.
    """
    with _opened(path) as file:
        found = _kind_of(path).carried_types(file, path, options, keep)
        kinds = [kind if pa.types.is_null(kind) else plain_type(kind) for kind in found]
    # Nullable: rows of other inputs have no value.
    return pa.schema([pa.field(name, kind) for name, kind in zip(keep, kinds, strict=True)])


def _kind_of(path: str) -> Kind:
    name = list_kind(path)
    if name is None:
        raise ValueError(f"{path} is not a list of images")
    return _KINDS[name]


class _opened:  # noqa: N801 - reads like contextlib.closing
    """The opened and decompressed list; errors while it is read become a ListError."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> BinaryIO:
        try:
            self._file = store_for(self._path).open(self._path)
        except OSError as error:
            raise ListError(f"{self._path} can't be read: {error.strerror or error}") from error
        if list_kind(self._path) == PARQUET:
            return self._file
        try:
            return unpacked(self._file, self._path)
        except ListError:
            self._file.close()
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, UnicodeError):
            raise ListError(
                f"{self._path} can't be read as text: {error}. --list-encoding names its encoding"
            ) from error
        if isinstance(error, _UNREADABLE):
            text = " ".join(str(error).split()) or type(error).__name__
            raise ListError(f"{self._path} can't be read: {text}") from error


def _entry(
    path: str, place: str, uri: str | None, error: str | None, carried: Carried | None
) -> Entry:
    if error or not uri:
        return Entry(f"{path}#{place}", error or f"row {place} of {path} has no uri", carried)
    if len(uri) > _LONGEST_URI:
        problem = f"the uri has {len(uri):,} characters; expected at most {_LONGEST_URI:,}"
        return Entry(f"{path}#{place}", problem, carried)
    try:
        return Entry(_absolute(uri, path), None, carried)
    except (InputError, UnicodeError) as wrong:
        return Entry(f"{path}#{place}", shortened(wrong), carried)


def _absolute(uri: str, path: str) -> str:
    found = resolve(uri, path.rpartition("/")[0] or "/")
    if is_remote(found):
        found.encode()  # names in a bucket are UTF-8
    os.fsencode(found)  # local paths may have other bytes, as surrogates from os.fsdecode
    return found
