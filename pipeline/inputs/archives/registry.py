"""List the images of an archive of any kind, and read their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pipeline.inputs.archives import parquet_files, tar_files, tfrecord_files, zip_files
from pipeline.inputs.archives.base import Kind, Member, Packing, Skipped, opened
from pipeline.inputs.file_kinds import PARQUET, TAR, TFRECORD, ZIP, ArchiveKind, archive_kind
from pipeline.inputs.stores.timeouts import Progress
from pipeline.inputs.uris import path_of
from pipeline.records import Image

_KINDS: dict[ArchiveKind, Kind] = {
    TAR: tar_files,
    ZIP: zip_files,
    TFRECORD: tfrecord_files,
    PARQUET: parquet_files,
}


def index_archive(
    archive: Image,
    packing: Packing,
    skip: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[Member]:
    """The images in an archive, with unique names.

    Args:
        archive: as it was listed.
        packing: how to read it.
        skip: called with the name of each packed file that is left aside; None for nothing.
        progress: counts the reads.

    Raises:
        ArchiveError: the content is damaged.
        OSError, ChangedError: it can't be read now; the store may raise other errors, too.
    """
    path = path_of(archive.uri)
    name, kind = _kind_of(path)
    with opened(path, archive.version, packing.roots, progress) as file:
        members = _images_only(kind.index(file, packing), skip)
        if name in (TFRECORD, PARQUET):
            yield from _numbered(members)
        else:
            yield from _last_of_each_name(members)


def read_archive(
    archive: str, version: str, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """The bytes of images in one segment of an archive, or the error that concerns one alone.

    Args:
        archive: its uri.
        version: the archive's version.
        wanted: the images, in the order of place; see Kind.read.
        packing: how to read the archive.

    Raises:
        ArchiveError, OSError, ChangedError: see index_archive.
    """
    path = path_of(archive)
    with opened(path, version, packing.roots) as file:
        yield from _kind_of(path)[1].read(file, wanted, packing)


def _kind_of(path: str) -> tuple[ArchiveKind, Kind]:
    name = archive_kind(path)
    if name is None:
        raise ValueError(f"{path} is not an archive")
    return name, _KINDS[name]


def _images_only(
    members: Iterator[Member | Skipped], skip: Callable[[str], None] | None
) -> Iterator[Member]:
    for member in members:
        if isinstance(member, Member):
            yield member
        elif skip is not None:
            skip(member.name)


def _last_of_each_name(members: Iterator[Member]) -> Iterator[Member]:
    """The last file of each name: unpacking would overwrite the others."""
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
    """All records. Those that share a name are different images: the second becomes NAME@2."""
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
