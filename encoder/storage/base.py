"""The interface of a store: local disk, Google Cloud Storage and others.

A *version* identifies a file's state: an object's generation, or a local file's mtime (ns) and
size. Equal versions mean equal content.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from encoder.errors import TooLargeError

GCS_PREFIX = "gs://"
FILE_PREFIX = "file://"


class FileInfo(NamedTuple):
    """One file: its path, its version, its size in bytes."""

    path: str
    version: str
    bytes: int


class Store(Protocol):
    """The operations that every store offers."""

    def stat(self, path: str) -> FileInfo | None:
        """The file's current state; None if the file does not exist."""

    def modified(self, path: str) -> datetime | None:
        """When the file was last written, in UTC; None if the file does not exist."""

    def is_folder(self, path: str) -> bool:
        """Whether there are files below this path."""

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        """The files below the folder, in no particular order.

        Args:
            folder: path or address of the folder.
            start: list only files whose path inside the folder begins with this.
            deep: list files at any depth; otherwise only those directly in the folder.
        """

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        """Read a whole file; return its content and the state that was read.

        Args:
            path: the file's path.
            version: the version to read; None for the current one.
            most: the largest size to accept, in bytes.

        Raises:
            FileNotFoundError: the file does not exist.
            TooLargeError: the file has more than `most` bytes.
            ChangedError: the file has another version now, or was written during the read.
        """

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """Open a file for random access, in this version if one is given.

        Raises:
            FileNotFoundError: the file does not exist.
            ChangedError: the file has another version now.
        """

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file; readers see either the old or the new content, never a part."""

    def create(self, path: str, data: bytes) -> bool:
        """Like write, but keep a file that exists; return whether the file was written."""

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        """Like write, but only over the expected version (None: the file must not exist).

        Raises:
            ChangedError: the file has another version.
        """

    def move(self, path: str, target: str) -> None:
        """Give a file another path in the same store, where it replaces what is there.

        A repetition does nothing. Readers find the file at one of the paths at any time.

        Raises:
            FileNotFoundError: there is no file at either path.
        """

    def delete(self, path: str) -> None:
        """Delete a file; do nothing if it does not exist."""


class Page(NamedTuple):
    """The answer to one request for names, and whether more names follow.

    The files are in the order of their paths. Names that end in a slash are among them, too.
    """

    files: list[FileInfo]
    more: bool


@runtime_checkable
class OrderedStore(Protocol):
    """What a store offers besides if it can list from any name on, in the order of UTF-8 bytes.

    That is the order in which Python compares strings.
    """

    def is_ordered(self, path: str) -> bool:
        """Whether the bucket of this path lists names in that order."""

    def pages(
        self,
        prefix: str,
        deep: bool = True,
        start: str = "",
        end: str | None = None,
        most: int | None = None,
    ) -> Iterator[Page]:
        """The files whose addresses begin with a prefix, a request for each page.

        Args:
            prefix: an address, at least that of a bucket with a slash behind it.
            deep: list names with further slashes behind the prefix, too.
            start: the first address that is wanted; pages may begin some names before it.
            end: the first address that is not wanted any more; None for all that follow. The last
                page may go beyond it.
            most: names on a page; None for as many as the store gives.

        Raises:
            OSError: the listing failed, so the pages so far are incomplete.
        """


class StorageSettings(NamedTuple):
    """Request settings for buckets. Each worker process applies those of its job by configure.

    Attributes:
        user_project: the project billed for requests to requester-pays buckets; "" for none.
        deadline: how long a failing request is repeated, in seconds.
    """

    user_project: str = ""
    deadline: float = 300.0


_settings = StorageSettings()


def configure(new: StorageSettings) -> None:
    """Apply these request settings to this process."""
    global _settings
    _settings = new


def settings() -> StorageSettings:
    """The request settings of this process."""
    return _settings


def join(folder: str, *names: str) -> str:
    """Join path parts with slashes."""
    return "/".join([folder.rstrip("/"), *names])


def check_size(size: int, most: int | None) -> None:
    """Raise TooLargeError if a file of `size` bytes exceeds the limit of `most` bytes."""
    if most is not None and size > most:
        raise TooLargeError(f"the file has {size:,} bytes, more than --max-bytes {most} allows")


def temporary_name(name: str) -> str:
    """A unique hidden file name for writing `name`; is_temporary recognises it."""
    return f".{name}.{uuid.uuid4().hex}.tmp"


def is_temporary(path: str) -> bool:
    """Whether the file is left over from a write that was cut short."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".tmp")
