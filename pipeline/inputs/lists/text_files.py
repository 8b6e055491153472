"""Lists in plain text: a uri in each line, and no columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from pipeline.inputs.lists.base import ListError, Rows


def rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    """A row per line that is not blank; see base.Kind."""
    for number, line in enumerate(file):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        uri = os.fsdecode(text.rstrip(b"\r\n"))
        if uri.strip():
            yield Rows([uri], [])


def carried_types(
    file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]
) -> list[pa.Field]:
    """Raise ListError: plain text has no columns."""
    raise ListError(f"{path} is a plain list of uris: it has no columns to keep")


def check_columns(file: BinaryIO, path: str, uri_column: str) -> None:
    """Do nothing: a text file has no columns, and any text is a list of uris."""
