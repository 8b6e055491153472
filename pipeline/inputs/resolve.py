"""From the files of an input to images and archives: reads the lists among the files."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage.registry import is_remote
from pipeline.dataset.named_uris import NamedUris
from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, Packing, opened
from pipeline.inputs.archives.image_columns import is_manifest
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.files import Linked, Names, Unreadable, list_files, look_at
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import Entry, read_list
from pipeline.inputs.source import Input, may_be_list
from pipeline.inputs.timeouts import ConsecutiveTimeouts
from pipeline.inputs.uris import path_of, readable, uri_of
from pipeline.options import ListOptions
from pipeline.records import Image, ListRows, ListState, Note

_LOOK_THREADS = 32
_LOOK_AHEAD = 4096


class ListSettings(NamedTuple):
    """How lists are read, and where the uris that they name are stored.

    Attributes:
        reading: how lists are read.
        carried: columns to carry over, with their types.
        output: the dataset.
        encoder_id: the id of the dataset's encoder.
        remember: store the uris that lists name, for later runs.
    """

    reading: ListOptions
    carried: pa.Schema
    output: str
    encoder_id: str
    remember: bool = True


Found = Image | Linked | Unreadable | ListState | ListRows | Note


def expand_input(
    source: Input, packing: Packing, settings: ListSettings, names: Names | None = None
) -> Iterator[Found]:
    """The images and archives of an input, the folders that can't be read, and the lists it read.

    The rows of all its lists are numbered from 1, in this order. Notes say what was left aside. A
    file that only links lead to is Linked; a list that several lead to is read once.

    Args:
        source: the input.
        packing: how archives are read.
        settings: how lists are read.
        names: the names that all inputs of the run have for files; None if it is the only one.

    Raises:
        OSError, JobError: the input can't be listed completely; no image may be taken for deleted.
    """
    aside = LeftAside(source)
    is_empty = True
    before = 0
    linked_lists = set()
    for each in list_files(source, aside, names):
        is_empty = False
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
    if is_empty:
        yield aside.nothing_found()
    yield from aside.notes()


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
    """What a list names, after the rows of the input's lists before it."""
    named = NamedUris(uri_of(path))
    notes: list[Note] = []
    number = before
    try:
        entries = read_list(path, settings.reading, settings.carried, notes)
        for images in _images_of(entries, source.text):
            number += 1
            for image in images:
                named.add(image.uri)
                yield image._replace(row=number)
    except ListError as error:
        raise JobError(f"--input {source.text}: {error}; nothing was changed") from error
    yield ListRows(uri_of(path), number - before)
    yield from notes
    if settings.remember:
        yield named.write(settings.output, settings.encoder_id)


def _images_of(entries: Iterator[Entry], text: str) -> Iterator[list[Image]]:
    """The images of each entry."""
    timeouts = ConsecutiveTimeouts(2 * _LOOK_THREADS)
    look = functools.partial(_image_of, text=text, timeouts=timeouts)
    with ThreadPoolExecutor(_LOOK_THREADS, thread_name_prefix="look-at") as pool:
        while some := list(itertools.islice(entries, _LOOK_AHEAD)):
            # Threads pay off only in buckets, where each look is a request.
            remote = any(is_remote(entry.path) for entry in some)
            yield from (pool.map if remote else map)(look, some)


def _image_of(entry: Entry, text: str, timeouts: ConsecutiveTimeouts) -> list[Image]:
    if entry.error:
        uri = readable(entry.path)
        return [Image(uri, "", 0, error=entry.error, source=text, carried=entry.carried)]
    try:
        found = list(look_at(entry.path, text, expected=True))
    except TimeoutError as error:
        timeouts.record(error)
        found = [Image(uri_of(entry.path), "", 0, error=str(error), source=text)]
    else:
        timeouts.record()
    return [each._replace(carried=entry.carried) for each in found]
