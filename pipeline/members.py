"""Which images an archive holds: read off the archive, or off the output where that knows.

An archive that was read to its end in this very version is not opened again: its rows in the
output, embeddings and failures, are what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.archives import DAMAGED, ArchiveError, Member, Packing, index_archive
from pipeline.names import PARQUET, archive_kind, member_uri
from pipeline.records import DECODE, READ, Image, Known, KnownRow, describe_error

_NOT_REACHED = "its archive is damaged, and can't be read as far as this"


def list_members(
    archive: Image,
    known: Iterable[KnownRow],
    packing: Packing,
    retry_failures: bool,
    as_before: bool = True,
) -> Iterator[Image]:
    """The images in an archive.

    Where the archive can't be read to its end, it becomes a failure itself, what was read counts,
    and the committed rows of what was not reached are listed as they are, so that they stay.

    Args:
        archive: as it was listed.
        known: rows of the output whose uri is in the archive or is the archive's.
        packing: how to read it.
        retry_failures: what could not be decoded will be tried again.
        as_before: earlier runs read archives in the same way, so that their rows can be relied on.
    """
    rows = list(known)
    if archive.error:
        yield archive
        yield from _as_known(archive, rows, damaged=True)
        return
    if as_before and _is_settled(archive, rows, packing, retry_failures):
        damaged = any(row.uri == archive.uri for row in rows)
        yield from _as_known(archive, rows, damaged)
        return
    seen = set()
    failure = None
    try:
        for member in index_archive(archive, packing):
            image = _image(archive, member)
            seen.add(image.uri)
            yield image
    except Exception as error:  # the store may raise anything; none of it may stop the job
        error_type, message = describe_error(error)
        stage = DECODE if isinstance(error, DAMAGED) else READ
        failure = archive._replace(error=message, stage=stage, error_type=error_type)
    if failure is not None:
        yield failure
        seen.add(archive.uri)
        failed = {row.uri for row in rows if row.known.stage}
        for image in _as_known(archive, [row for row in rows if row.uri not in seen], True):
            # A failure might be tried again, but the archive can't be read up to it.
            refused = image._replace(error=_NOT_REACHED, stage=DECODE)
            yield refused if image.uri in failed else image


def _is_settled(
    archive: Image, rows: list[KnownRow], packing: Packing, retry_failures: bool
) -> bool:
    current = [row.known for row in rows if _is_current(archive, row.known)]
    if not current or any(known.stage not in ("", DECODE) for known in current):
        return False
    if retry_failures and any(known.stage for known in current):
        return False
    carries = len(packing.kept) > 0 and archive_kind(archive.uri) == PARQUET
    return not (carries and any(known.kept is None for known in current if not known.stage))


def _is_current(archive: Image, known: Known) -> bool:
    return known.committed and known.version == archive.version


def _as_known(archive: Image, rows: list[KnownRow], damaged: bool) -> Iterator[Image]:
    """Images as the output knows them; of a damaged archive, also those of its earlier versions."""
    seen = set()
    for row in rows:
        wanted = _is_current(archive, row.known) or (damaged and row.known.committed)
        if wanted and row.uri not in seen:
            seen.add(row.uri)
            yield Image(row.uri, row.known.version, 0, source=archive.source, kept=archive.kept)


def _image(archive: Image, member: Member) -> Image:
    return Image(
        uri=member_uri(archive.uri, member.name),
        version=archive.version,
        bytes=member.bytes,
        error=member.error,
        stage=DECODE,
        error_type=ArchiveError.__name__,
        source=archive.source,
        kept=archive.kept if member.kept is None else member.kept,
        archive=archive.uri,
        place=member.place,
        segment=member.segment,
    )
