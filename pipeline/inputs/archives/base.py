"""The interface of all kinds of archives: list the images, and read their bytes.

An archive is never unpacked. It is listed first; then each segment that holds images to embed is
one item of work, read from front to back.
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
from pipeline.inputs.roots import Roots
from pipeline.options import DEFAULT_MAX_BYTES
from pipeline.records import Carried, Image

SEGMENT_BYTES = 256 << 20  # bytes of a segment, in archives that can be read from any place


class ArchiveError(ValueError):
    """The content of an archive is damaged or invalid; reading it again won't help."""


# What the libraries that read archives raise for damaged content.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, struct.error, UnicodeDecodeError, NotImplementedError, pa.ArrowException),
)


@contextlib.contextmanager
def translated_damage() -> Iterator[None]:
    """Turn errors about damaged content into ArchiveError; errors of a store stay as they are."""
    try:
        yield
    except ArchiveError:
        raise
    except _DAMAGED as error:
        raise ArchiveError(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # raised by bz2 and pyarrow
            raise ArchiveError(str(error)) from error
        raise


class Member(NamedTuple):
    """An image packed in an archive: a file with an image's name, or a record.

    Attributes:
        name: the file's or record's name; index_archive makes it unique within the archive.
        bytes: size of the packed file or record; 0 if only reading it would show that.
        place: see pipeline.records.Image.
        segment: see pipeline.records.Image.
        error: why the image can't be read; None if it can.
        carried: values of the carried columns; None for those of the archive.
    """

    name: str
    bytes: int
    place: int
    segment: int = 0
    error: str | None = None
    carried: Carried | None = None


class Skipped(NamedTuple):
    """The name of a packed file that is left aside."""

    name: str


class Packing(NamedTuple):
    """How archives of records are read.

    Attributes:
        image_field: feature or column that holds the image's bytes; None to find it.
        id_field: feature or column that names an image; None to number the images.
        carried: columns to carry over, with their types.
        max_bytes: listing doesn't read larger records.
        parsed: carried columns whose type the user chose: texts are taken by their meaning.
        roots: what links may reach, for archives and for images in files of their own.
    """

    image_field: str | None = None
    id_field: str | None = None
    carried: pa.Schema = NO_COLUMNS
    max_bytes: int = DEFAULT_MAX_BYTES
    parsed: frozenset[str] = frozenset()
    roots: Roots = Roots()


class Kind(Protocol):
    """One kind of archive."""

    def index(self, file: BinaryIO, packing: Packing) -> Iterator[Member | Skipped]:
        """The archive's images and the files that are left aside, in its order.

        Args:
            file: the archive.
            packing: how to read it.

        Raises:
            ArchiveError: the archive is damaged; or another error, see translated_damage.
        """

    def read(
        self, file: BinaryIO, wanted: Iterable[Image], packing: Packing
    ) -> Iterator[tuple[Image, bytes | Exception]]:
        """The bytes of images of one segment, or the error that concerns one image alone.

        Args:
            file: the archive.
            wanted: the images, in the order of place. Each is taken only when it is read, so that
                the caller can hold the reader back.
            packing: how to read the archive.

        Raises:
            ArchiveError: the archive is damaged; or another error, see translated_damage.
        """
