"""The interface of all kinds of archives: list the images, and read their bytes.

An archive is never unpacked. It is listed first; then each segment that holds images to embed is
one item of work, read from front to back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast

import pyarrow as pa

from encoder.storage.registry import store_for
from pipeline.dataset.schema import NO_COLUMNS
from pipeline.errors import JobError
from pipeline.inputs.roots import Roots
from pipeline.inputs.stores.timeouts import Progress
from pipeline.options import DEFAULT_MAX_BYTES, DEFAULT_READ_TIMEOUT
from pipeline.records import Carried, Image

SEGMENT_BYTES = 256 << 20  # bytes of a segment, in archives that can be read from any place

_ANYWHERE = Roots()


class ArchiveError(ValueError):
    """The content of an archive is damaged or invalid; reading it again won't help."""


class _Watched:
    """An archive's file, which remembers an error of its store: a library may hide it."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        self._progress.made()
        try:
            return self._file.read(size)
        except (OverflowError, MemoryError):
            raise  # damage: no file has so many bytes
        except Exception as error:
            self.error = error
            raise


@contextlib.contextmanager
def opened(
    path: str,
    version: str | None = None,
    roots: Roots = _ANYWHERE,
    progress: Progress | None = None,
) -> Iterator[BinaryIO]:
    """Open an archive. In the block, errors about its content become ArchiveError.

    Damaged bytes can make the libraries that read archives raise anything. So whatever does not
    come from reading the file is damage; the errors of the store stay as they are.

    Args:
        path: absolute, or an address such as gs://.
        version: the version to open; None for the present one.
        roots: what links may reach.
        progress: counts the reads.

    Raises:
        RefusedError: a link leads out of the roots.
        ArchiveError: the content is damaged.
        OSError, ChangedError: it can't be read now; the store may raise other errors, too.
    """
    with store_for(path).open(path, version) as file:
        roots.check_opened(file, path)
        watched = cast(BinaryIO, _Watched(file, progress or Progress()))
        try:
            yield watched
        except JobError:
            raise
        except Exception as error:
            raise damage_in(watched, error) from error


def damage_in(file: BinaryIO, error: Exception) -> ArchiveError:
    """What an error says about an archive's content.

    Args:
        file: the archive, from ``opened``.
        error: what reading it has raised.

    Raises:
        Exception: the error of the store that stands behind it.
    """
    if isinstance(file, _Watched) and file.error is not None:
        raise file.error
    if isinstance(error, ArchiveError):
        return error
    text = str(error) or ("the data ends too early" if isinstance(error, EOFError) else "damaged")
    return ArchiveError(f"{type(error).__name__}: {text}")


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
        seconds: that listing may take without reading anything.
        parsed: carried columns whose type the user chose: texts are taken by their meaning.
        roots: what links may reach, for archives and for images in files of their own.
    """

    image_field: str | None = None
    id_field: str | None = None
    carried: pa.Schema = NO_COLUMNS
    max_bytes: int = DEFAULT_MAX_BYTES
    seconds: float = DEFAULT_READ_TIMEOUT
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
            ArchiveError: the archive is damaged; or another error, see opened.
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
            ArchiveError: the archive is damaged; or another error, see opened.
        """
