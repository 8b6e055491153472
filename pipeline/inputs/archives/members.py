"""List the images in an archive, from the archive or from the output.

If the output holds rows from a complete reading of this version of the archive, the archive is not
opened: the rows, embeddings and failures, list its images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, Member, Packing
from pipeline.inputs.archives.registry import index_archive
from pipeline.inputs.file_kinds import PARQUET, TFRECORD, archive_kind, is_left_out
from pipeline.inputs.stores.timeouts import Progress, in_time
from pipeline.inputs.uris import member_uri
from pipeline.records import DECODE, READ, Image, Known, KnownRow, Note, Stage, describe_error

_NOT_REACHED = "its archive is damaged, and can't be read as far as this"


def list_members(
    archive: Image,
    known: Iterable[KnownRow],
    packing: Packing,
    retry_failures: bool,
    again: bool = False,
) -> Iterator[Image | Note]:
    """The images in an archive; if it is opened, also notes about what it holds besides.

    If the archive can't be read to its end, the archive becomes a failure, the images before the
    damage are listed, and committed rows of the others are listed unchanged, so that they stay.

    Raises JobError if a carried value does not fit into its column's type.

    Args:
        archive: as it was listed.
        known: rows of the output for the archive and for the images in it.
        packing: how to read the archive.
        retry_failures: whether images that could not be decoded are tried again.
        again: whether to open the archive in any case.
    """
    rows = list(known)
    stored, archive = archive.version, archive._replace(version=_version(archive, packing))
    if archive.error:
        yield archive
        yield from _not_reached(archive, rows)
        return
    if not again and _is_settled(archive, rows, packing, retry_failures):
        damaged = any(row.uri == archive.uri for row in rows)
        yield from _as_known(archive, rows, damaged)
        return
    seen = set()
    failure = None
    aside, progress = _Aside(archive), Progress()
    try:
        listed = archive._replace(version=stored)
        members = index_archive(listed, packing, aside.add, progress)
        for member in in_time(members, packing.seconds, "listing the archive", progress):
            image = _image(archive, member)
            seen.add(image.uri)
            yield image
    except JobError as error:
        raise JobError(f"{archive.uri}: {error}") from error
    except Exception as error:  # a store may raise anything; that must not stop the job
        error_type, message = describe_error(error)
        stage: Stage = DECODE if isinstance(error, ArchiveError) else READ
        failure = archive._replace(error=message, stage=stage, error_type=error_type)
    if failure is not None:
        yield failure
        yield from _not_reached(archive, [row for row in rows if row.uri not in seen])
    elif not seen:
        yield Note(archive.uri, "holds no image")
    yield from aside.notes()


class _Aside:
    """Counts the packed files that are left aside.

    Args:
        archive: the archive that holds them.
    """

    def __init__(self, archive: Image) -> None:
        self._archive = archive
        self._counts: Counter[bool] = Counter()  # by whether the file is an archive
        self._examples: dict[bool, str] = {}

    def add(self, name: str) -> None:
        """Count a packed file."""
        is_archive = archive_kind(name) is not None and not is_left_out(name)
        self._counts[is_archive] += 1
        self._examples.setdefault(is_archive, name)

    def notes(self) -> Iterator[Note]:
        """What there is to say: about archives for each archive, about other files by its kind."""
        if inner := self._counts[True]:
            yield Note(
                self._archive.uri,
                "{archive} in this archive left aside; unpack it to have them searched",
                inner,
                self._examples[True],
            )
        if others := self._counts[False]:
            yield Note(
                f"--input {self._archive.source}",
                f"{{file}} in {archive_kind(self._archive.uri)} archives left aside, hidden or "
                "without the name of an image",
                others,
                member_uri(self._archive.uri, self._examples[False]),
            )


def archive_version(version: str) -> str:
    """The version of an archive, from the version of an image in it."""
    return version.partition(";")[0]


def _version(archive: Image, packing: Packing) -> str:
    """The version of the images: with other fields, the same records are other images."""
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
    # Carried columns of a Parquet file are read anew, which is cheap without the images.
    return not packing.carried.names or archive_kind(archive.uri) != PARQUET


def _not_reached(archive: Image, rows: list[KnownRow]) -> Iterator[Image]:
    """Known images that the reading did not reach; failures among them stay failures."""
    failed = {row.uri for row in rows if row.known.stage}
    for image in _as_known(archive, [row for row in rows if row.uri != archive.uri], True):
        refused = image._replace(error=_NOT_REACHED, stage=DECODE)
        yield refused if image.uri in failed else image


def _is_current(archive: Image, known: Known) -> bool:
    return known.committed and known.version == archive.version


def _as_known(archive: Image, rows: list[KnownRow], damaged: bool) -> Iterator[Image]:
    """Images from rows of the output; for a damaged archive, from earlier versions, too."""
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
