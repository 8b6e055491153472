"""What every kind of list has in common: its interface, its rows, its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

import pyarrow as pa

BATCH_ROWS = 65536


class ListError(ValueError):
    """A list can't be read; nothing may be concluded from it."""


class Rows(NamedTuple):
    """Some rows of a list: texts of uris (None: there is none), and the carried columns.

    Errors say why a row can't be used. Places name rows by something else than their number,
    where they are not empty.
    """

    uris: Sequence[str | None]
    carried: Sequence[Sequence[Any]]
    errors: Sequence[str] = ()
    places: Sequence[str] = ()


class Kind(Protocol):
    """One kind of list; a module each."""

    def rows(
        self, file: BinaryIO, path: str, uri_column: str, carried: pa.Schema
    ) -> Iterator[Rows]:
        """All rows, some thousands at a time, with the carried columns in their types.

        Raises:
            ListError: a column is missing, or the list can't be read to its end.
        """

    def carried_types(
        self, file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]
    ) -> list[pa.Field]:
        """The columns to carry over, with types that all of their values have.

        Raises:
            ListError: a column is missing, or its values have no type in common.
        """

    def check_columns(self, file: BinaryIO, path: str, uri_column: str) -> None:
        """Check that there is a column of uris; reads only the beginning.

        Raises:
            ListError: there is none.
        """


def check_names(path: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise ListError where a list has not all columns that are wanted."""
    for name in wanted:
        if name not in found:
            raise ListError(
                f"{path} has no column {name!r}; it has {', '.join(found) or 'none'}. Name the "
                "column of uris with --uri-column and those to carry over with --keep"
            )
