"""Files on disk and objects in Google Cloud Storage behind one small interface.

A *version* is what a store says of a file's state: an object's generation, a local file's mtime
(ns) and size. Equal versions, equal content.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol

from encoder.errors import TooLargeError

GCS_PREFIX = "gs://"
FILE_PREFIX = "file://"


class FileInfo(NamedTuple):
    """One file: its path, the version its store gives it, its size in bytes."""

    path: str
    version: str
    bytes: int


class Store(Protocol):
    """What the project needs of a place where files are kept."""

    def stat(self, path: str) -> FileInfo | None:
        """The file's state, or None where there is no such file."""

    def modified(self, path: str) -> datetime | None:
        """When the file was written last, in UTC; None where there is no such file."""

    def is_folder(self, path: str) -> bool:
        """Whether anything can be listed below this path."""

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        """The files below the folder, in no particular order.

        Args:
            folder: where to look.
            start: only files whose path inside the folder begins so.
            deep: at any depth; otherwise only those directly in the folder.
        """

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        """The content, in this version if one is given, together with the state that it was in.

        Raises:
            TooLargeError: it has more than `most` bytes.
            ChangedError: it is in another version now, or was written meanwhile.
        """

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """Open for reading here and there in a file, in this version if one is given.

        Raises:
            ChangedError: it is in another version now.
        """

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file; a reader sees the old content or the new one, never a part."""

    def create(self, path: str, data: bytes) -> bool:
        """Like write, but a file that is there already stays; gives whether this was written."""

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        """Like write, if the version is as expected (None: no file yet), else ChangedError."""

    def delete(self, path: str) -> None:
        """Delete a file; one that is gone already is fine."""


class StorageSettings(NamedTuple):
    """How buckets are spoken to. Where they are unpickled, a worker process, they hold as well.

    Attributes:
        user_project: that pays for requests to buckets whose requester pays; "" for none.
        deadline: seconds after which a request that keeps failing is given up.
    """

    user_project: str = ""
    deadline: float = 300.0

    def __reduce__(self) -> Any:
        return _configured, tuple(self)


_settings = StorageSettings()


def configure(new: StorageSettings) -> None:
    """Let this process speak to buckets like this from now on."""
    global _settings
    _settings = new


def _configured(*values: Any) -> StorageSettings:
    configure(StorageSettings(*values))
    return _settings


def settings() -> StorageSettings:
    """How this process speaks to buckets."""
    return _settings


def join(folder: str, *names: str) -> str:
    """Join path parts with slashes."""
    return "/".join([folder.rstrip("/"), *names])


def check_size(size: int, most: int | None) -> None:
    """Raise TooLargeError where a file of so many bytes is more than its reader takes."""
    if most is not None and size > most:
        raise TooLargeError(f"the file has {size:,} bytes, more than --max-bytes {most} allows")


def temporary_name(name: str) -> str:
    """A hidden name beside the final one; see is_temporary."""
    return f".{name}.{uuid.uuid4().hex}.tmp"


def is_temporary(path: str) -> bool:
    """Whether a write that was cut short has left this behind."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".tmp")
