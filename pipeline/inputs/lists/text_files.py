"""Lists in plain text: a uri in each line, and no columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from pipeline.inputs.lists.base import ListError, Rows
from pipeline.inputs.lists.text_input import encoding_note, lines_of, opened_text
from pipeline.options import ListOptions
from pipeline.records import Note


def rows(
    file: BinaryIO, path: str, options: ListOptions, carried: pa.Schema, notes: list[Note]
) -> Iterator[Rows]:
    """A row per line that is not blank; see base.Kind."""
    # Names may have "\r" in them.
    with opened_text(file, options.encoding, newline="\n") as text:
        number = 0
        for line in lines_of(text, path):
            # Without any line feed, carriage returns end the lines.
            only_returns = number == 0 and not line.endswith("\n")
            for uri in line.split("\r") if only_returns else [line.rstrip("\r\n")]:
                if uri.strip():
                    number += 1
                    yield Rows([uri], [])
        notes += encoding_note(path, text.encoding, number)


def carried_types(
    file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]
) -> list[pa.DataType]:
    """Raise ListError: plain text has no columns."""
    raise ListError(f"{path} is a plain list of uris: it has no columns to keep")


def check_columns(file: BinaryIO, path: str, options: ListOptions, keep: Sequence[str]) -> None:
    """Do nothing: a text file has no columns, and any text is a list of uris."""
