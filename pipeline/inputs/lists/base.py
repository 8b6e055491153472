"""The interface of all kinds of lists, their rows and their errors."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from pipeline.dataset.values import MisfitError, fitted, to_plain
from pipeline.inputs.lists.column_types import misfit
from pipeline.inputs.uris import readable
from pipeline.options import ListOptions
from pipeline.records import Note

BATCH_ROWS = 65536
LONGEST = 16 << 20  # characters of a line or value
_SHOWN_NAMES = 30  # columns in an error


class ListError(ValueError):
    """A list can't be read completely; no image may be taken for deleted."""


class Rows(NamedTuple):
    """Some rows of a list.

    Attributes:
        uris: the text of each row's uri; None if there is none.
        carried: the carried columns, each with a value per row.
        errors: why each row can't be used, None if it can; empty if all can.
        places: what identifies each row, None for its number; empty if all have None.
    """

    uris: Sequence[str | None]
    carried: Sequence[Sequence[object]]
    errors: Sequence[str | None] = ()
    places: Sequence[str | None] = ()


class Kind(Protocol):
    """One kind of list; a module implements it."""

    def rows(
        self,
        file: BinaryIO,
        path: str,
        options: ListOptions,
        carried: pa.Schema,
        notes: list[Note],
    ) -> Iterator[Rows]:
        """All rows, some thousands at a time.

        Args:
            file: the list.
            path: the list's path, for errors.
            options: how to read it.
            carried: the columns to carry over, with the types to convert them to.
            notes: gets what there is to tell about the list, at the end.

        Raises:
            ListError: a column is missing, a value does not fit into its column's type, or the list
                can't be read to its end.
        """

    def carried_types(
        self, file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]
    ) -> list[pa.DataType]:
        """The types that fit all values of the columns to carry over; null for no values at all.

        Raises:
            ListError: a column is missing.
        """

    def check_columns(
        self, file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]
    ) -> None:
        """Check that there is a column of uris; reads only the start of the file.

        Raises:
            ListError: there is no such column.
        """


def check_names(path: str, options: ListOptions, keep: Sequence[str], found: Sequence[str]) -> None:
    """Check that a list has the column of uris and those to carry over, once each.

    Raises:
        ListError: a column is missing, or there are several of its name.
    """
    for name, option in ((options.uri_column, "uri-column"), *((each, "keep") for each in keep)):
        if found.count(name) > 1:
            raise ListError(f"{path} has several columns {name!r}; rename them")
        if name in found:
            continue
        near = [each for each in found if each.strip().casefold() == name.strip().casefold()]
        hint = (
            f"did you mean {near[0]!r}: --{option} {shlex.quote(near[0])}"
            if near
            else "name the column of uris with --uri-column and those to carry over with --keep"
        )
        raise ListError(readable(f"{path} has no column {name!r}; it has {shown(found)}; {hint}"))


def shown(names: Sequence[str]) -> str:
    """The names of columns for an error, not too many of them."""
    rest = len(names) - _SHOWN_NAMES
    text = ", ".join(names[:_SHOWN_NAMES]) or "none"
    return f"{text} and {rest} more" if rest > 0 else text


def carried_values(
    path: str,
    column: pa.Array | pa.ChunkedArray,
    field: pa.Field,
    place: Callable[[int], str],
    options: ListOptions,
) -> list[object]:
    """The values of a carried column, converted to the column's type.

    Args:
        path: the list's path, for errors.
        column: the values as the list has them.
        field: the column's name and type.
        place: gives where the list has a row, by its number in the column; for errors.
        options: how the list is read.

    Raises:
        ListError: a value would not come back from this type.
    """
    try:
        return to_plain(fitted(column, field.type, field.name in options.parsed))
    except MisfitError as error:
        raise ListError(misfit(f"{path}, {place(error.row)}", field, error.value)) from error
