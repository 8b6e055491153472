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
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from pipeline.dataset.schema import NO_COLUMNS
from pipeline.options import DEFAULT_MAX_BYTES
from pipeline.records import Carried, Image

SEGMENT_BYTES = 256 << 20  # of an archive that can be entered in the middle, per item of work


class ArchiveError(ValueError):
    """The content of an archive is damaged or makes no sense; reading it again won't help."""


# What the libraries that read archives raise for damaged content.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, struct.error, UnicodeDecodeError, NotImplementedError, pa.ArrowException),
)


@contextlib.contextmanager
def translated_damage() -> Iterator[None]:
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
        error: why it can't be read; None if it can.
        carried: values of carried columns.
    """

    name: str
    bytes: int
    place: int
    segment: int = 0
    error: str | None = None
    carried: Carried | None = None


class Packing(NamedTuple):
    """What the user says about archives of records.

    Attributes:
        image_field: feature or column of the image's bytes; None to find it.
        id_field: feature or column that names an image; None for its number.
        carried: columns to carry over, with their types.
        max_bytes: a larger record is not looked into.
    """

    image_field: str | None = None
    id_field: str | None = None
    carried: pa.Schema = NO_COLUMNS
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
