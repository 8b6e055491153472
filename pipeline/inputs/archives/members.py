"""Which images an archive holds: read off the archive, or off the output where that knows.

An archive that was read to its end in this very version is not opened again: its rows in the
output, embeddings and failures, are what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.inputs.archives.base import ArchiveError, Member, Packing
from pipeline.inputs.archives.registry import index_archive
from pipeline.inputs.file_kinds import PARQUET, TFRECORD, archive_kind
from pipeline.inputs.uris import member_uri
from pipeline.records import DECODE, READ, Image, Known, KnownRow, Stage, describe_error

_NOT_REACHED = "its archive is damaged, and can't be read as far as this"


def list_members(
    archive: Image,
    known: Iterable[KnownRow],
    packing: Packing,
    retry_failures: bool,
) -> Iterator[Image]:
    """The images in an archive.

    Where the archive can't be read to its end, it becomes a failure itself, what was read counts,
    and the committed rows of what was not reached are listed as they are, so that they stay.

    Args:
        archive: as it was listed.
        known: rows of the output whose uri is in the archive or is the archive's.
        packing: how to read it.
        retry_failures: what could not be decoded will be tried again.
    """
    rows = list(known)
    stored, archive = archive.version, archive._replace(version=_version(archive, packing))
    if archive.error:
        yield archive
        yield from _not_reached(archive, rows)
        return
    if _is_settled(archive, rows, packing, retry_failures):
        damaged = any(row.uri == archive.uri for row in rows)
        yield from _as_known(archive, rows, damaged)
        return
    seen = set()
    failure = None
    try:
        for member in index_archive(archive._replace(version=stored), packing):
            image = _image(archive, member)
            seen.add(image.uri)
            yield image
    except Exception as error:  # the store may raise anything; none of it may stop the job
        error_type, message = describe_error(error)
        stage: Stage = DECODE if isinstance(error, ArchiveError) else READ
        failure = archive._replace(error=message, stage=stage, error_type=error_type)
    if failure is not None:
        yield failure
        yield from _not_reached(archive, [row for row in rows if row.uri not in seen])


def archive_version(version: str) -> str:
    """The version of the archive itself, from that of something packed in it."""
    return version.partition(";")[0]


def _version(archive: Image, packing: Packing) -> str:
    """Records read in another way are other images, so their version says how they were read."""
    if archive_kind(archive.uri) not in (TFRECORD, PARQUET) or not archive.version:
        return archive.version
    fields = (("image", packing.image_field), ("id", packing.id_field))
    return ";".join([archive.version, *(f"{name}={field}" for name, field in fields if field)])


def _is_settled(
    archive: Image, rows: list[KnownRow], packing: Packing, retry_failures: bool
) -> bool:
    current = [row.known for row in rows if _is_current(archive, row.known)]
    if not current or any(known.stage not in (None, DECODE) for known in current):
        return False
    if retry_failures and any(known.stage for known in current):
        return False
    # Of a Parquet file, columns to carry over are read anew: without the images that is cheap.
    return not packing.carried.names or archive_kind(archive.uri) != PARQUET


def _not_reached(archive: Image, rows: list[KnownRow]) -> Iterator[Image]:
    """What an archive that can't be read held before; a failure can't be tried again then."""
    failed = {row.uri for row in rows if row.known.stage}
    for image in _as_known(archive, [row for row in rows if row.uri != archive.uri], True):
        refused = image._replace(error=_NOT_REACHED, stage=DECODE)
        yield refused if image.uri in failed else image


def _is_current(archive: Image, known: Known) -> bool:
    return known.committed and known.version == archive.version


def _as_known(archive: Image, rows: list[KnownRow], damaged: bool) -> Iterator[Image]:
    """Images as the output knows them; of a damaged archive, also those of its earlier versions."""
    seen = set()
    for row in rows:
        wanted = _is_current(archive, row.known) or (damaged and row.known.committed)
        if wanted and row.uri not in seen:
            seen.add(row.uri)
            yield Image(
                row.uri, row.known.version, 0, source=archive.source, carried=archive.carried
            )


def _image(archive: Image, member: Member) -> Image:
    return Image(
        uri=member_uri(archive.uri, member.name),
        version=archive.version,
        bytes=member.bytes,
        error=member.error,
        stage=DECODE,
        error_type=ArchiveError.__name__,
        source=archive.source,
        carried=archive.carried if member.carried is None else member.carried,
        archive=archive.uri,
        place=member.place,
        segment=member.segment,
    )
