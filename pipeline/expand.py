"""From the files of an input to images: lists are read, archives are told apart from images."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage import join, store_for
from pipeline.archives import ArchiveError, Packing, damage_told
from pipeline.dataset import LIST_KEY, removed_meanwhile
from pipeline.errors import JobError
from pipeline.inputs import Input, may_be_list
from pipeline.layout import uris_path
from pipeline.list_rows import ListError
from pipeline.listing import Unreadable, list_files, look_at
from pipeline.lists import Entry, read_list
from pipeline.names import archive_kind, path_of, readable, uri_of
from pipeline.parquet_images import is_manifest
from pipeline.records import Image, ListState

_BATCH_ROWS = 65536
_LOOK_THREADS = 32
_LOOK_AHEAD = 4096
_URIS = pa.schema([pa.field("uri", pa.string(), nullable=False)])


class ListSettings(NamedTuple):
    """How lists are read, and where is kept what they named.

    Attributes:
        uri_column: of manifests.
        kept: columns to carry over, with their types.
        output, encoder_id: of the dataset.
        remember: write down what lists name, for the runs to come.
    """

    uri_column: str
    kept: pa.Schema
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


def is_list(source: Input, path: str, uri_column: str, image_field: str) -> bool:
    """Whether a file of an input is a list; of a Parquet file the columns tell.

    Raises:
        OSError: it can't be read.
    """
    if not source.takes_as_list(path):
        return False
    if not may_be_list(path):
        return True
    try:
        with damage_told(), store_for(path).open(path) as file:
            return is_manifest(pq.read_schema(file), uri_column, image_field)
    except ArchiveError:
        return False  # a damaged file: as an archive it becomes a failure


def is_archive(image: Image) -> bool:
    """Whether what was listed is an archive, which has yet to be looked into."""
    return not image.archive and bool(archive_kind(image.uri))


def read_uris(output: str, state: ListState) -> Iterator[str]:
    """What a list named in an earlier run.

    Raises:
        JobError: another run has removed what remembers it.
    """
    path = join(output, state.uris_path)
    try:
        opened = store_for(path).open(path)
    except FileNotFoundError:
        raise removed_meanwhile(state.uris_path) from None
    with opened as file:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
            yield from batch.column(0).to_pylist()


def list_of(output: str, path: str) -> ListState | None:
    """Which list a file of uris is of; None where it does not say so, or is gone."""
    full = join(output, path)
    try:
        with store_for(full).open(full) as file:
            metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    return ListState(metadata[LIST_KEY].decode(), path) if LIST_KEY in metadata else None


def merge_lists(output: str, encoder_id: str, states: Sequence[ListState]) -> ListState:
    """Remember of a list what it has named in any of several states."""
    named = _Named(states[0].list_uri)
    for uri in dict.fromkeys(uri for state in states for uri in read_uris(output, state)):
        named.add(uri)
    return named.write(output, encoder_id)


def _expand_list(source: Input, path: str, settings: ListSettings) -> Iterator[Found]:
    named = _Named(uri_of(path))
    try:
        entries = read_list(path, settings.uri_column, settings.kept)
        for image in _looked_at(entries, source.text):
            named.add(image.uri)
            yield image
    except ListError as error:
        raise JobError(f"--input {source.text}: {error}; nothing was changed") from error
    if settings.remember:
        yield named.write(settings.output, settings.encoder_id)


def _looked_at(entries: Iterator[Entry], text: str) -> Iterator[Image]:
    """Many at a time: in a bucket, each takes a request."""
    with ThreadPoolExecutor(_LOOK_THREADS, thread_name_prefix="look-at") as pool:
        while some := list(itertools.islice(entries, _LOOK_AHEAD)):
            for images in pool.map(_image_of, some, itertools.repeat(text)):
                yield from images


def _image_of(entry: Entry, text: str) -> list[Image]:
    if entry.error:
        return [Image(readable(entry.path), "", 0, entry.error, source=text, kept=entry.kept)]
    return [each._replace(kept=entry.kept) for each in look_at(entry.path, text, expected=True)]


class _Named:
    """Collects what a list names, to be compared with what it names in later runs.

    Args:
        list_uri: of the list. It is noted in the file, for runs that die and manifests that have to
            be rebuilt.
    """

    def __init__(self, list_uri: str) -> None:
        self._list_uri = list_uri
        self._rows: list[str] = []
        self._digest = hashlib.sha256(list_uri.encode() + b"\0")
        self._buffer = io.BytesIO()
        schema = _URIS.with_metadata({LIST_KEY: list_uri.encode()})
        self._writer = pq.ParquetWriter(self._buffer, schema, compression="zstd")

    def add(self, uri: str) -> None:
        self._digest.update(uri.encode() + b"\0")
        self._rows.append(uri)
        if len(self._rows) == _BATCH_ROWS:
            self._flush()

    def write(self, output: str, encoder_id: str) -> ListState:
        """Write the uris, if they are not there yet."""
        self._flush()
        self._writer.close()
        relative = uris_path(encoder_id, self._digest.hexdigest())
        full = join(output, relative)
        if store_for(full).stat(full) is None:
            store_for(full).write(full, self._buffer.getvalue())
        return ListState(self._list_uri, relative)

    def _flush(self) -> None:
        self._writer.write_table(pa.table({"uri": self._rows}, schema=_URIS))
        self._rows = []
