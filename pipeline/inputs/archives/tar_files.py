"""Images in tar files, plain or compressed, such as WebDataset's."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, cast

from encoder.images.kinds import HEAD_BYTES, looks_like_image
from pipeline.inputs.archives.base import SEGMENT_BYTES, ArchiveError, Member, Packing, Skipped
from pipeline.inputs.file_kinds import has_no_extension, is_image_name
from pipeline.records import Image

_Opener = Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]
# The first bytes of compressed files, and what opens them.
_COMPRESSIONS: tuple[tuple[bytes, _Opener], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


def index(file: BinaryIO, packing: Packing) -> Iterator[Member | Skipped]:
    """Every image, by its name or else by its first bytes, in order; see base.Kind."""
    with _archive(file) as (archive, compressed):
        for number, info in _headers(archive):
            if not _is_image(archive, info):
                if not info.isdir():
                    yield Skipped(info.name)
                continue
            yield Member(
                name=info.name,
                bytes=info.size,
                place=number if compressed else info.offset_data,
                segment=0 if compressed else info.offset_data // SEGMENT_BYTES,
                error=_problem_with(info),
            )


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See base.Kind. Reads only the wanted images of a plain tar, all of a compressed one."""
    if _opener(file) is None:
        for image in wanted:
            file.seek(image.place)
            yield image, _whole(file.read(image.bytes), image)
        return
    with _archive(file) as (archive, _):
        headers = _headers(archive)
        for image in wanted:
            info = next(info for number, info in headers if number == image.place)
            content = archive.extractfile(info)
            yield image, _whole(content.read() if content else b"", image)


# Every version of tarfile has these names, but its __all__ lacks them.
_END_MARK = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_NOTHING_LEFT = tarfile.EmptyHeaderError  # type: ignore[attr-defined]
_BAD_HEADER = tarfile.HeaderError
# Headers that go on behind their block: pax, and GNU's long names. tarfile holds them in memory.
_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_LONGEST_EXTENSION = 1 << 20  # bytes


class _StrictHeader(tarfile.TarInfo):
    """Distinguishes a damaged archive from its end; tarfile takes both for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:
            raise ArchiveError(f"the file {info.name!r} has a negative size, {info.size}")
        if info.type in _EXTENSIONS and info.size > _LONGEST_EXTENSION:
            raise ArchiveError(
                f"a header of {info.size:,} bytes; expected {_LONGEST_EXTENSION:,} at most"
            )
        return info

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _StrictHeader:
        archive = cast(_StrictTar, tarfile)
        start = archive.offset
        try:
            info = super().fromtarfile(archive)
        except _END_MARK:
            archive.has_ended = True
            raise
        except _NOTHING_LEFT:
            if archive.offset and not archive.has_ended:
                raise ArchiveError(
                    f"no end mark after {archive.offset} bytes: the archive may be cut short"
                ) from None
            raise
        except _BAD_HEADER as error:
            if archive.has_ended:
                raise _NOTHING_LEFT from None  # padding, or junk that other tars ignore, too
            raise ArchiveError(f"damaged at byte {archive.offset}: {error}") from error
        if info.size < 0 or archive.offset <= start:  # it would be read again and again
            raise ArchiveError(f"damaged at byte {start}: the next header would be before it")
        archive.has_ended = False
        return info


class _StrictTar(tarfile.TarFile):
    """A tar file; has_ended after an end mark, until a header of an appended archive follows."""

    tarinfo = _StrictHeader
    has_ended = False


@contextlib.contextmanager
def _archive(file: BinaryIO) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """The archive, and whether it is compressed, so that it can be read only in order."""
    opener = _opener(file)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(opener(file)) if opener else file
        archive = _StrictTar.open(
            fileobj=stream,
            mode="r|" if opener else "r:",
            bufsize=tarfile.BLOCKSIZE,  # a larger buffer would lose the end of a cut gzip
            ignore_zeros=True,  # archives may be appended to each other
            encoding="utf-8",
            errors="surrogateescape",
        )
        yield stack.enter_context(archive), opener is not None


def _opener(file: BinaryIO) -> _Opener | None:
    """Opens a file for decompression, chosen by its first bytes; None if it is plain."""
    head = file.read(6)
    file.seek(0)
    return next((opener for magic, opener in _COMPRESSIONS if head.startswith(magic)), None)


def _headers(archive: tarfile.TarFile) -> Iterator[tuple[int, tarfile.TarInfo]]:
    number = 0
    while (info := archive.next()) is not None:
        yield number, info
        archive.members.clear()  # type: ignore[attr-defined] # otherwise it would keep all of them
        number += 1


def _is_image(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bool:
    if info.isdir():
        return False
    if is_image_name(info.name) or not info.isreg() or not has_no_extension(info.name):
        return is_image_name(info.name)
    content = archive.extractfile(info)
    return content is not None and looks_like_image(content.read(HEAD_BYTES))


def _problem_with(info: tarfile.TarInfo) -> str | None:
    if info.islnk() or info.issym():
        return (
            f"a link to {info.linkname!r} in the archive, which a stream can't follow; pack files "
            "instead of links (tar --dereference --hard-dereference)"
        )
    if not info.isreg():
        return "not a regular file"
    return "a sparse file; pack it without tar's --sparse" if info.issparse() else None


def _whole(data: bytes, image: Image) -> bytes | Exception:
    if len(data) == image.bytes:
        return data
    return ArchiveError(f"the archive ends after {len(data)} of this file's {image.bytes} bytes")
