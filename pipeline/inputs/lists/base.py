"""The interface of all kinds of lists, their rows and their errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

BATCH_ROWS = 65536


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
        self, file: BinaryIO, path: str, uri_column: str, carried: pa.Schema
    ) -> Iterator[Rows]:
        """All rows, some thousands at a time.

        Args:
            file: the list.
            path: the list's path, for errors.
            uri_column: the column of uris.
            carried: the columns to carry over, with the types to convert them to.

        Raises:
            ListError: a column is missing, or the list can't be read to its end.
        """

    def carried_types(
        self, file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]
    ) -> list[pa.Field]:
        """The columns to carry over, each with a type that fits all its values.

        Raises:
            ListError: a column is missing, or its values have no type in common.
        """

    def check_columns(self, file: BinaryIO, path: str, uri_column: str) -> None:
        """Check that there is a column of uris; reads only the start of the file.

        Raises:
            ListError: there is no such column.
        """


def check_names(path: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise ListError if a list lacks one of the wanted columns."""
    for name in wanted:
        if name not in found:
            raise ListError(
                f"{path} has no column {name!r}; it has {', '.join(found) or 'none'}. Name the "
                "column of uris with --uri-column and those to carry over with --keep"
            )
