"""Images in tar files, plain or compressed, such as those of WebDataset."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

from encoder.images.kinds import HEAD_BYTES, looks_like_image
from pipeline.inputs.archives.base import SEGMENT_BYTES, ArchiveError, Member, Packing
from pipeline.inputs.file_kinds import has_no_extension, is_image_name
from pipeline.records import Image

_COMPRESSIONS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


def index(file: BinaryIO, packing: Packing) -> Iterator[Member]:
    """Every file whose name is that of an image, in order; see base.Kind."""
    with _archive(file) as (archive, compressed):
        for number, info in _headers(archive):
            if not _is_image(archive, info):
                continue
            place = number if compressed else info.offset_data
            segment = 0 if compressed else info.offset_data // SEGMENT_BYTES
            yield Member(info.name, info.size, place, segment, _refused(info))


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See base.Kind. Of a plain tar only what is wanted is read."""
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


class _StrictHeader(tarfile.TarInfo):
    """Tells a damaged archive from one that ends; tarfile takes both for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Any:
        try:
            info = super().fromtarfile(tarfile)
        except _END_MARK:
            tarfile.ended = True
            raise
        except _NOTHING_LEFT:
            if tarfile.offset and not getattr(tarfile, "ended", False):
                raise ArchiveError(
                    f"no end mark after {tarfile.offset} bytes: the archive may be cut short"
                ) from None
            raise
        except _BAD_HEADER as error:
            if getattr(tarfile, "ended", False):
                raise _NOTHING_LEFT from None  # padding, or junk that other tars ignore, too
            raise ArchiveError(f"damaged at byte {tarfile.offset}: {error}") from error
        tarfile.ended = False
        return info


# Not in tarfile's list of public names, but in every version of it.
_END_MARK = cast(Any, tarfile).EOFHeaderError
_NOTHING_LEFT = cast(Any, tarfile).EmptyHeaderError
_BAD_HEADER = tarfile.HeaderError


@contextlib.contextmanager
def _archive(file: BinaryIO) -> Iterator[tuple[tarfile.TarFile, bool]]:
    """The archive, and whether it is compressed, so that there is only one way through it."""
    opener = _opener(file)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(opener(file)) if opener else file
        archive = tarfile.open(  # noqa: SIM115 - closed by the stack
            fileobj=stream,
            mode="r|" if opener else "r:",
            bufsize=tarfile.BLOCKSIZE,  # what a cut gzip has in a larger buffer would be lost
            tarinfo=_StrictHeader,
            ignore_zeros=True,  # archives may be appended to each other
            encoding="utf-8",
            errors="surrogateescape",
        )
        yield stack.enter_context(archive), opener is not None


def _opener(file: BinaryIO) -> Any:
    """What decompresses the file, by its first bytes."""
    head = file.read(6)
    file.seek(0)
    return next((opener for magic, opener in _COMPRESSIONS if head.startswith(magic)), None)


def _headers(archive: tarfile.TarFile) -> Iterator[tuple[int, tarfile.TarInfo]]:
    number = 0
    while (info := archive.next()) is not None:
        yield number, info
        archive.members.clear()  # type: ignore[attr-defined] # else it keeps all of them
        number += 1


def _is_image(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bool:
    if info.isdir():
        return False
    if is_image_name(info.name) or not info.isreg() or not has_no_extension(info.name):
        return is_image_name(info.name)
    content = archive.extractfile(info)
    return content is not None and looks_like_image(content.read(HEAD_BYTES))


def _refused(info: tarfile.TarInfo) -> str:
    if info.islnk() or info.issym():
        return (
            f"a link to {info.linkname!r} in the archive, which a stream can't follow; pack files "
            "instead of links (tar --dereference --hard-dereference)"
        )
    if not info.isreg():
        return "not a regular file"
    return "a sparse file; pack it without tar's --sparse" if info.issparse() else ""


def _whole(data: bytes, image: Image) -> bytes | Exception:
    if len(data) == image.bytes:
        return data
    return ArchiveError(f"the archive ends after {len(data)} of this file's {image.bytes} bytes")
