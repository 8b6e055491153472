"""From the files of an input to images and archives: reads the lists among the files."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
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
from pipeline.inputs.roots import Roots
from pipeline.inputs.source import Input, may_be_list
from pipeline.inputs.stores.timeouts import ConsecutiveTimeouts, in_time
from pipeline.inputs.uris import path_of, readable, uri_of
from pipeline.options import DEFAULT_READ_TIMEOUT, ListOptions
from pipeline.records import Image, ListRows, ListState, Note

_LOOK_THREADS = 32
_LOOK_AHEAD = 4096
_HANGING = 3  # files on disk in a row that do not answer; each holds up the listing


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
    for each in list_files(source, aside, names, settings.roots, settings.seconds):
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
        entries = in_time(entries, settings.seconds, f"reading {path}")
        for images in _images_of(entries, source.text, path, settings):
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


def _images_of(
    entries: Iterator[Entry], text: str, path: str, settings: ListSettings
) -> Iterator[list[Image]]:
    """The images of each entry of the list at a path."""
    timeouts = ConsecutiveTimeouts(2 * _LOOK_THREADS)
    look = functools.partial(
        _image_of, text=text, path=path, roots=settings.roots, timeouts=timeouts
    )
    with ThreadPoolExecutor(_LOOK_THREADS, thread_name_prefix="look-at") as pool:
        while some := list(itertools.islice(entries, _LOOK_AHEAD)):
            # Threads pay off only in buckets, where each look is a request.
            for remote, group in itertools.groupby(some, lambda entry: is_remote(entry.path)):
                if remote:
                    yield from pool.map(look, group)
                else:
                    yield from _looked(look, list(group), text, settings.seconds)


def _looked(
    look: Callable[[Entry], list[Image]], entries: list[Entry], text: str, seconds: float
) -> Iterator[list[Image]]:
    """The images of each entry, in order; a failure for one that does not answer in time."""
    timeouts = ConsecutiveTimeouts(_HANGING)
    done = 0
    while done < len(entries):
        before = done
        try:
            for images in in_time(map(look, entries[done:]), seconds, "looking at files"):
                done += 1
                yield images
        except TimeoutError as error:
            if done > before:
                timeouts.record()
            timeouts.record(error)
            entry = entries[done]
            problem = f"the file system gave no answer within {seconds:g} s (--read-timeout)"
            failure = Image(uri_of(entry.path), "", 0, error=problem, source=text)
            yield [failure._replace(carried=entry.carried)]
            done += 1


def _image_of(
    entry: Entry, text: str, path: str, roots: Roots, timeouts: ConsecutiveTimeouts
) -> list[Image]:
    if entry.error:
        uri = readable(entry.path)
        return [Image(uri, "", 0, error=entry.error, source=text, carried=entry.carried)]
    if refusal := roots.refusal_of_listed(entry.path, path):
        uri = uri_of(entry.path)
        return [Image(uri, "", 0, error=refusal, source=text, carried=entry.carried)]
    try:
        found = list(look_at(entry.path, text, expected=True))
    except TimeoutError as error:
        timeouts.record(error)
        found = [Image(uri_of(entry.path), "", 0, error=str(error), source=text)]
    else:
        timeouts.record()
    return [each._replace(carried=entry.carried) for each in found]
