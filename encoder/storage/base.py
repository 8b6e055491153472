"""Files on disk and objects in Google Cloud Storage behind one small interface.

A *version* is what a store says of a file's state: an object's generation, a local file's mtime
(ns) and size. Equal versions, equal content.
"""

from __future__ import annotations

import os
import re
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol

from encoder.errors import InputError, TooLargeError

GCS_PREFIX = "gs://"
FILE_PREFIX = "file://"
_HURRY_SECONDS = 4.0  # for a request while somebody waits at the terminal
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


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


def local_store() -> Store:
    """Files on this machine."""
    from encoder.storage.local import LocalStore

    return LocalStore()


def gcs_store() -> Store:
    """Objects in Google Cloud Storage."""
    from encoder.storage.gcs.store import GcsStore

    return GcsStore()


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


_stores: dict[str, Callable[[], Store]] = {GCS_PREFIX: gcs_store}


def add_store(prefix: str, store: Callable[[], Store]) -> None:
    """Let paths that begin with a prefix, such as s3://, lie in this store from now on."""
    _stores[prefix] = store


def store_for(path: str) -> Store:
    """The store in which a path lies."""
    return _stores.get(_prefix(path), local_store)()


def check_reachable(path: str) -> None:
    """Find out within seconds whether a path in a bucket can be looked at; nothing needs be there.

    Raises:
        OSError: it can't; the message says why.
    """
    if not is_remote(path):
        return
    before = settings()
    configure(before._replace(deadline=min(before.deadline, _HURRY_SECONDS)))
    try:
        store = store_for(path)
        if store.stat(path) is None:
            store.is_folder(path)
    finally:
        configure(before)


def is_remote(path: str) -> bool:
    """Whether the path lies in a store that every worker machine can reach."""
    return _prefix(path) in _stores


def _prefix(path: str) -> str:
    """Such as gs://; "" where there is none."""
    return path[: path.find("://") + 3] if not path.startswith("/") and "://" in path else ""


def normalize(path: str | os.PathLike[str]) -> str:
    """The path as this project writes it: absolute, without a closing slash."""
    text = os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return os.path.abspath(os.path.expanduser(text))
    if scheme[0] == FILE_PREFIX:
        return os.path.abspath(path_of_file_uri(text))
    if scheme[0] not in _stores:
        known = ", ".join(sorted(_stores))
        raise InputError(f"{text!r}: unknown scheme {scheme[0]}; expected a local path or {known}")
    if not text.removeprefix(scheme[0]).partition("/")[0]:
        raise InputError(f"{text!r} names no bucket; expected {scheme[0]}BUCKET/PATH")
    return text.rstrip("/")


def path_of_file_uri(uri: str) -> str:
    """The local path that a file:// uri stands for; bytes that are not UTF-8 as os.fsdecode."""
    host, _, rest = uri.removeprefix(FILE_PREFIX).partition("/")
    if host not in ("", "localhost"):
        raise InputError(f"{uri!r} is on another machine; expected file:///PATH")
    return os.fsdecode(urllib.parse.unquote_to_bytes(f"/{rest}"))


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
