"""From the files of an input to images and archives: reads the lists among the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.named_uris import NamedUris
from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, Packing, opened
from pipeline.inputs.archives.image_columns import is_manifest
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.files import Linked, Names, Unreadable, start_listing
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import Entry, read_list
from pipeline.inputs.lists.rows import RowBlock, blocks_of, uri_in
from pipeline.inputs.roots import Roots
from pipeline.inputs.source import Input, may_be_list
from pipeline.inputs.stores.name_ranges import NameRange
from pipeline.inputs.stores.timeouts import in_time
from pipeline.inputs.uris import path_of, uri_of
from pipeline.options import DEFAULT_READ_TIMEOUT, ListOptions
from pipeline.records import Image, ListRows, ListState, Note


class ListSettings(NamedTuple):
    """How lists are read, and where the uris that they name are stored.

    Attributes:
        reading: how lists are read.
        carried: columns to carry over, with their types.
        output: the dataset.
        encoder_id: the id of the dataset's encoder.
        seconds: that may pass, on disk, until the next file is looked at.
        remember: store the uris that lists name, for later runs.
        roots: what lists and links may reach.
    """

    reading: ListOptions
    carried: pa.Schema
    output: str
    encoder_id: str
    seconds: float = DEFAULT_READ_TIMEOUT
    remember: bool = True
    roots: Roots = Roots()


Found = Image | Linked | Unreadable | NameRange | RowBlock | ListState | ListRows | LeftAside | Note


def expand_input(
    source: Input, packing: Packing, settings: ListSettings, names: Names | None = None
) -> Iterator[Found]:
    """The images and archives of an input, the folders that can't be read, and the lists it read.

    The rows of all its lists are numbered from 1, in this order; they come in blocks, whose images
    a RowLooker finds. A file that only links lead to is Linked; a list that several lead to is read
    once. Of a large bucket, some files come, and the ranges of names that remain. What was left
    aside comes last.

    Args:
        source: the input.
        packing: how archives are read.
        settings: how lists are read.
        names: the names that all inputs of the run have for files; None if it is the only one.

    Raises:
        OSError, JobError: the input can't be listed completely; no image may be taken for deleted.
    """
    aside, names = LeftAside(source), names or Names([source])
    before = 0
    linked_lists = set()
    for each in start_listing(source, aside, names, settings.roots, settings.seconds):
        if isinstance(each, NameRange):
            yield each
            continue
        aside.is_empty = False
        found = each.image if isinstance(each, Linked) else each
        if isinstance(found, Unreadable):
            uri = f"{uri_of(found.folder)}/"
            yield Image(uri, "", 0, error=found.error, source=source.text)
            yield found
        elif not found.error and is_list(
            source, path_of(found.uri), settings.reading.uri_column, packing.image_field
        ):
            path = path_of(found.uri)
            if isinstance(each, Linked):
                if each.place in linked_lists:
                    continue
                linked_lists.add(each.place)
                path = path_of(each.uri or found.uri)
            rows = 0
            for row in _expand_list(source, path, settings, before):
                if isinstance(row, ListRows):
                    rows = row.rows
                yield row
            before += rows
            if not rows:
                yield Note(f"--input {source.text}", "{list} without a row", 1, path)
        elif isinstance(each, Linked) and each.uri:
            yield found._replace(uri=each.uri)
        else:
            yield each
    yield aside


def is_list(source: Input, path: str, uri_column: str, image_field: str | None) -> bool:
    """Whether a file of an input is a list. Reads the columns of a Parquet file to decide.

    Args:
        source: the input.
        path: the file's path.
        uri_column: the column of uris, in manifests.
        image_field: the column of images that the user chose; None for none.

    Raises:
        OSError: the file can't be read.
    """
    if not source.takes_as_list(path):
        return False
    if not may_be_list(path):
        return True
    try:
        with opened(path) as file:
            return is_manifest(pq.read_schema(file), uri_column, image_field)
    except ArchiveError:
        return False  # damaged: taken as an archive, which becomes a failure


def is_archive(image: Image) -> bool:
    """Whether a listed file is an archive, whose images have yet to be listed."""
    return not image.archive and archive_kind(image.uri) is not None


def _expand_list(source: Input, path: str, settings: ListSettings, before: int) -> Iterator[Found]:
    """The rows of a list, after the rows of the input's lists before it.

    The uris that it names are written in the order of the list, which the blocks don't have.
    """
    named = NamedUris(uri_of(path))
    notes: list[Note] = []
    number = before

    def numbered(entries: Iterator[Entry]) -> Iterator[tuple[int, Entry]]:
        nonlocal number
        for entry in entries:
            number += 1
            named.add(uri_in(entry))
            yield number, entry

    try:
        entries = read_list(path, settings.reading, settings.carried, notes)
        entries = in_time(entries, settings.seconds, f"reading {path}")
        yield from blocks_of(numbered(entries), source.text, path)
    except ListError as error:
        raise JobError(f"--input {source.text}: {error}; nothing was changed") from error
    yield ListRows(uri_of(path), number - before)
    yield from notes
    if settings.remember:
        yield named.write(settings.output, settings.encoder_id)
