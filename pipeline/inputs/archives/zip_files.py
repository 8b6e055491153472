"""Images in zip files, found in the zip's directory; the content is checked by its checksum."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from encoder.images.kinds import HEAD_BYTES, looks_like_image
from pipeline.inputs.archives.base import SEGMENT_BYTES, Member, Packing, Skipped, damage_in
from pipeline.inputs.file_kinds import has_no_extension, is_image_name
from pipeline.records import Image

_ENCRYPTED = 0x1


def index(file: BinaryIO, packing: Packing) -> Iterator[Member | Skipped]:
    """Every image, by its name or else by its first bytes; see base.Kind."""
    with zipfile.ZipFile(file) as archive:
        for number, info in enumerate(archive.infolist()):
            if _is_image(file, archive, info):
                yield Member(
                    name=info.filename,
                    bytes=info.file_size,
                    place=number,
                    segment=info.header_offset // SEGMENT_BYTES,
                    error=_problem_with(info),
                )
            elif not info.is_dir():
                yield Skipped(info.filename)


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See base.Kind."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        for image in wanted:
            info = infos[image.place]
            try:
                with archive.open(info) as content:
                    # The limit protects against content that inflates to more than it should.
                    data: bytes | Exception = content.read(info.file_size)
            except Exception as error:  # see base.opened; it concerns this image alone
                data = damage_in(file, error)
            yield image, data


def _is_image(file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    if info.is_dir():
        return False
    if is_image_name(info.filename) or not has_no_extension(info.filename):
        return is_image_name(info.filename)
    try:
        with archive.open(info) as content:
            return looks_like_image(content.read(HEAD_BYTES))
    except Exception as error:
        damage_in(file, error)  # an error of the store goes on
        return False


def _problem_with(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted in the archive; pack it without a password"
    mode = info.external_attr >> 16
    return "a link in the archive; pack files instead of links" if stat.S_ISLNK(mode) else None
