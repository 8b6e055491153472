"""From the files of an input to images: lists are read, archives are told apart from images."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage.registry import is_remote, store_for
from pipeline.dataset.named_uris import NamedUris
from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, Packing, translated_damage
from pipeline.inputs.archives.parquet_files import is_manifest
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.files import Unreadable, list_files, look_at
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import Entry, read_list
from pipeline.inputs.source import Input, may_be_list
from pipeline.inputs.timeouts import ConsecutiveTimeouts
from pipeline.inputs.uris import path_of, readable, uri_of
from pipeline.records import Image, ListState

_LOOK_THREADS = 32
_LOOK_AHEAD = 4096


class ListSettings(NamedTuple):
    """How lists are read, and where is kept what they named.

    Attributes:
        uri_column: of manifests.
        carried: columns to carry over, with their types.
        output, encoder_id: of the dataset.
        remember: write down what lists name, for the runs to come.
    """

    uri_column: str
    carried: pa.Schema
    output: str
    encoder_id: str
    remember: bool = True


Found = Image | Unreadable | ListState


def expand_input(source: Input, packing: Packing, settings: ListSettings) -> Iterator[Found]:
    """The images and archives of an input, folders that can't be read, and the lists it read.

    Raises:
        OSError, JobError: the input can't be listed; nothing may be concluded then.
    """
    for found in list_files(source):
        if isinstance(found, Unreadable):
            yield Image(f"{uri_of(found.folder)}/", "", 0, found.error, source=source.text)
            yield found
        elif not found.error and is_list(
            source, path_of(found.uri), settings.uri_column, packing.image_field
        ):
            yield from _expand_list(source, path_of(found.uri), settings)
        else:
            yield found


def is_list(source: Input, path: str, uri_column: str, image_field: str | None) -> bool:
    """Whether a file of an input is a list; of a Parquet file the columns tell.

    Raises:
        OSError: it can't be read.
    """
    if not source.takes_as_list(path):
        return False
    if not may_be_list(path):
        return True
    try:
        with translated_damage(), store_for(path).open(path) as file:
            return is_manifest(pq.read_schema(file), uri_column, image_field)
    except ArchiveError:
        return False  # a damaged file: as an archive it becomes a failure


def is_archive(image: Image) -> bool:
    """Whether what was listed is an archive, which has yet to be looked into."""
    return not image.archive and bool(archive_kind(image.uri))


def _expand_list(source: Input, path: str, settings: ListSettings) -> Iterator[Found]:
    named = NamedUris(uri_of(path))
    try:
        entries = read_list(path, settings.uri_column, settings.carried)
        for image in _looked_at(entries, source.text):
            named.add(image.uri)
            yield image
    except ListError as error:
        raise JobError(f"--input {source.text}: {error}; nothing was changed") from error
    if settings.remember:
        yield named.write(settings.output, settings.encoder_id)


def _looked_at(entries: Iterator[Entry], text: str) -> Iterator[Image]:
    timeouts = ConsecutiveTimeouts(2 * _LOOK_THREADS)
    look = functools.partial(_image_of, text=text, timeouts=timeouts)
    with ThreadPoolExecutor(_LOOK_THREADS, thread_name_prefix="look-at") as pool:
        while some := list(itertools.islice(entries, _LOOK_AHEAD)):
            # In a bucket each takes a request; on disk a thread would take longer than the look.
            remote = any(is_remote(entry.path) for entry in some)
            for images in (pool.map if remote else map)(look, some):
                yield from images


def _image_of(entry: Entry, text: str, timeouts: ConsecutiveTimeouts) -> list[Image]:
    if entry.error:
        return [Image(readable(entry.path), "", 0, entry.error, source=text, carried=entry.carried)]
    try:
        found = list(look_at(entry.path, text, expected=True))
    except TimeoutError as error:
        timeouts.record(error)
        found = [Image(uri_of(entry.path), "", 0, str(error), source=text)]
    else:
        timeouts.record()
    return [each._replace(carried=entry.carried) for each in found]
