"""Lists in CSV and TSV."""

from __future__ import annotations

import csv
import io
import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv

from pipeline.dataset.schema import NO_COLUMNS
from pipeline.dataset.values import to_plain
from pipeline.inputs.lists.base import BATCH_ROWS, ListError, Rows, check_names
from pipeline.inputs.uris import readable

_LONGEST = 16 << 20  # characters of a line or value, for example after an unclosed quote
_SHOWN = 200  # characters of a wrong row in an error


class Line(NamedTuple):
    """A row of CSV.

    Attributes:
        number: of its first line, from 1.
        values: one per column, if there is no error.
        error: why the row can't be used; None if it can.
    """

    number: int
    values: list[str]
    error: str | None


def rows(file: BinaryIO, path: str, uri_column: str, carried: pa.Schema) -> Iterator[Rows]:
    """A row per row of the table; a row with a wrong number of values has an error."""
    names, lines = csv_table(file, path)
    check_names(path, [uri_column, *carried.names], names)
    uri, *places = [names.index(name) for name in (uri_column, *carried.names)]
    while batch := list(itertools.islice(lines, BATCH_ROWS)):
        whole = [line.values for line in batch if not line.error]
        table = (
            _converted(whole, places, carried.names, carried)
            if places
            else NO_COLUMNS.empty_table()
        )
        columns = [iter(to_plain(column)) for column in table.columns]
        yield Rows(
            [None if line.error else line.values[uri] for line in batch],
            [[None if line.error else next(column) for line in batch] for column in columns],
            [line.error for line in batch],
            [f"line-{line.number}" if line.error else None for line in batch],
        )


def csv_table(file: BinaryIO, path: str) -> tuple[list[str], Iterator[Line]]:
    """The names in the first row of CSV, and the rows below it.

    In values, bytes that are not UTF-8 become surrogates, as with os.fsdecode.

    Raises:
        ListError: the file is empty, two columns share a name, or a line or value is too long.
    """
    lines = _csv_lines(file, path)
    _, texts = next(lines, (0, []))
    if not texts:
        raise ListError(f"{path} is empty; expected a first row with the names of its columns")
    names = [readable(text) for text in texts]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ListError(f"{path} has several columns {twice[0]!r}; rename them")
    expected = len(names)
    return names, (Line(at, row, _misfit(row, expected)) for at, row in lines)


def carried_types(
    file: BinaryIO, path: str, uri_column: str, keep: Sequence[str]
) -> list[pa.Field]:
    """See base.Kind. Arrow infers the types from all values."""
    names, lines = csv_table(file, path)
    check_names(path, [uri_column, *keep], names)
    whole = (line.values for line in lines if not line.error)
    return list(_converted(whole, [names.index(name) for name in keep], keep).schema)


def check_columns(file: BinaryIO, path: str, uri_column: str) -> None:
    """See base.Kind."""
    check_names(path, [uri_column], csv_table(file, path)[0])


def _csv_lines(file: BinaryIO, path: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its first line."""
    csv.field_size_limit(_LONGEST)  # for the whole process; the default is 128 KiB
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    reader = csv.reader(_short_lines(file, path), delimiter=delimiter)
    before = 0
    try:
        for values in reader:
            if values:
                yield before + 1, values
            before = reader.line_num
    except csv.Error as error:
        raise ListError(
            f"{path} has a value from line {before + 1} on of more than {_LONGEST:,} characters "
            f"({error}); close its quote"
        ) from error


def _short_lines(file: BinaryIO, path: str) -> Iterator[str]:
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        while line := text.readline(_LONGEST):
            if len(line) == _LONGEST:
                raise ListError(f"{path} has a line of more than {_LONGEST:,} characters")
            # Python 3.10 can't parse null bytes; no file name has any.
            yield line if sys.version_info >= (3, 11) else line.replace("\0", "\ufffd")


def _misfit(values: list[str], expected: int) -> str | None:
    if len(values) == expected:
        return None
    text = readable(",".join(values)[:_SHOWN])
    return f"a row with {len(values)} values instead of {expected}: {text}"


def _converted(
    rows: Iterable[list[str]],
    places: Sequence[int],
    names: Sequence[str],
    types: pa.Schema | None = None,
) -> pa.Table:
    """The columns at some places, parsed by Arrow, which infers their types unless given."""
    with io.TextIOWrapper(tempfile.TemporaryFile(), "utf-8", "surrogateescape", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows([row[place] for place in places] for row in rows)
        text.seek(0)
        return pa_csv.read_csv(
            text.buffer,
            pa_csv.ReadOptions(use_threads=False, block_size=_LONGEST),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(column_types=types),
        )
