"""Archives of images, of every kind behind two functions: what is in them, and its bytes.

An archive is never unpacked. Its directory is read first; then each segment of it that has
images to embed is one item of work, read from front to back.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from encoder.storage.registry import store_for
from pipeline.dataset.schema import NO_COLUMNS
from pipeline.inputs.file_kinds import PARQUET, TAR, TFRECORD, ZIP, archive_kind, path_of
from pipeline.options import DEFAULT_MAX_BYTES
from pipeline.records import Image, Kept

SEGMENT_BYTES = 256 << 20  # of an archive that can be entered in the middle, per item of work


class ArchiveError(ValueError):
    """The content of an archive is damaged or makes no sense; reading it again won't help."""


# What the libraries that read archives raise for damaged content.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, struct.error, UnicodeDecodeError, NotImplementedError, pa.ArrowException),
)


@contextlib.contextmanager
def damage_told() -> Iterator[None]:
    """Turn what tells of damaged content into ArchiveError; what a store raises stays as it is."""
    try:
        yield
    except ArchiveError:
        raise
    except _DAMAGED as error:
        raise ArchiveError(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # of bz2 and pyarrow
            raise ArchiveError(str(error)) from error
        raise


class Member(NamedTuple):
    """Something packed in an archive that is an image, by its name or as a record.

    Attributes:
        name: unique within the archive.
        bytes: its size; 0 where only reading tells.
        place, segment: see pipeline.records.Image.
        error: why it can't be read; empty if it can.
        kept: values of carried columns.
    """

    name: str
    bytes: int
    place: int
    segment: int = 0
    error: str = ""
    kept: Kept | None = None


class Packing(NamedTuple):
    """What the user says about archives of records.

    Attributes:
        image_field: feature or column of the image's bytes; "" to find it.
        id_field: feature or column that names an image; "" for its number.
        kept: columns to carry over, with their types.
        max_bytes: a larger record is not looked into.
    """

    image_field: str = ""
    id_field: str = ""
    kept: pa.Schema = NO_COLUMNS
    max_bytes: int = DEFAULT_MAX_BYTES


class Kind(Protocol):
    """One kind of archive."""

    def index(self, file: BinaryIO, packing: Packing) -> Iterator[Member]:
        """What is in it, in order; an error that tells of damage where that can't be finished."""

    def read(
        self, file: BinaryIO, wanted: Iterable[Image], packing: Packing
    ) -> Iterator[tuple[Image, bytes | Exception]]:
        """The bytes of some images of one segment, which are given in the order of place.

        An image is taken from `wanted` only when its turn has come, so that the caller can hold
        the reader back.
        """


def index_archive(archive: Image, packing: Packing) -> Iterator[Member]:
    """What is in an archive; names are unique.

    Raises:
        ArchiveError: the content is damaged.
        OSError, ChangedError and whatever the store raises: it can't be read now.
    """
    path = path_of(archive.uri)
    kind = archive_kind(path)
    with damage_told(), store_for(path).open(path, archive.version) as file:
        members = _kind(kind).index(file, packing)
        if kind in (TFRECORD, PARQUET):
            yield from _numbered(members)
        else:
            yield from _last_of_each_name(members)


def read_archive(
    archive: str, version: str, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """The bytes of images packed in one segment of an archive, in the order of place.

    What is wrong with one image is given in its place. See Kind.read and index_archive.
    """
    path = path_of(archive)
    with damage_told(), store_for(path).open(path, version) as file:
        yield from _kind(archive_kind(path)).read(file, wanted, packing)


def _kind(name: str) -> Kind:
    from pipeline.inputs.archives import parquet_files as parquet_images
    from pipeline.inputs.archives import tar_files, zip_files
    from pipeline.inputs.archives import tfrecord_files as tfrecords

    kinds: dict[str, Any] = {
        TAR: tar_files,
        ZIP: zip_files,
        TFRECORD: tfrecords,
        PARQUET: parquet_images,
    }
    kind: Kind = kinds[name]
    return kind


def _last_of_each_name(members: Iterator[Member]) -> Iterator[Member]:
    """Of files packed twice under one name the last counts, as if they were unpacked."""
    found: dict[str, Member] = {}
    try:
        for member in members:
            found.pop(member.name, None)
            found[member.name] = member
    except BaseException:
        yield from found.values()
        raise
    yield from found.values()


def _numbered(members: Iterator[Member]) -> Iterator[Member]:
    """Records that share a name are different images: the second is NAME@2, and so on."""
    counts: dict[str, int] = {}
    for member in members:
        name = member.name
        count = counts[name] = counts.get(name, 0) + 1
        while count > 1 and (unique := f"{name}@{count}") in counts:
            count = counts[name] = count + 1
        if count > 1:
            counts[unique] = 1
            member = member._replace(name=unique)
        yield member


def in_order(images: Sequence[Image]) -> list[Image]:
    """As Kind.read wants them."""
    return sorted(images, key=_place)


def _place(image: Image) -> int:
    return image.place
