"""Files on disk and objects in Google Cloud Storage behind one small interface.

A *version* is what a store says of a file's
state: an object's generation, a local file's mtime (ns) and size. Equal versions, equal content.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat as stat_module
import urllib.parse
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, BinaryIO, NamedTuple, Protocol

from encoder.errors import ChangedError, InputError, TooLargeError

GCS_PREFIX = "gs://"
FILE_PREFIX = "file://"
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

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        """Every file below the folder, at any depth, in no particular order."""

    def read(self, path: str, most: int | None = None) -> tuple[bytes, FileInfo]:
        """The content together with the state that it was read in.

        Raises:
            TooLargeError: it has more than `most` bytes; none of them was read.
            ChangedError: it was written meanwhile.
        """

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """Open for reading here and there in a file, in this version if one is given.

        Raises:
            ChangedError: the file is in another version now.
        """

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file; a reader sees the old content or the new one, never a part."""

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        """Like write, if the version is as expected (None: no file yet), else ChangedError."""

    def delete(self, path: str) -> None:
        """Delete a file; one that is gone already is fine."""


def is_remote(path: str) -> bool:
    """Whether the path lies in a store that every worker machine can reach."""
    return path.startswith(GCS_PREFIX)


def normalize(path: str | os.PathLike[str]) -> str:
    """The path as this project writes it: absolute, without a closing slash."""
    text = os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return os.path.abspath(os.path.expanduser(text))
    if scheme[0] == FILE_PREFIX:
        return os.path.abspath(path_of_file_uri(text))
    if scheme[0] != GCS_PREFIX:
        raise InputError(f"{text!r}: only local paths and gs:// are supported, not {scheme[0]}")
    if not text.removeprefix(GCS_PREFIX).partition("/")[0]:
        raise InputError(f"{text!r} names no bucket; expected gs://BUCKET/PATH")
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


def store_for(path: str) -> Store:
    """The store in which a path lies."""
    if not is_remote(path):
        return LocalStore()
    from encoder.gcs import GcsStore

    return GcsStore()


class LocalStore:
    """Files on this machine."""

    def stat(self, path: str) -> FileInfo | None:
        try:
            state = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _local_info(path, state) if stat_module.S_ISREG(state.st_mode) else None

    def modified(self, path: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(os.stat(path).st_mtime, timezone.utc)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        for base, _, names in os.walk(folder, onerror=_raise_unless_gone):
            for name in names:
                path = join(base, name)
                info = self.stat(path)
                if info is not None:  # deleted since the folder was read
                    yield info

    def read(self, path: str, most: int | None = None) -> tuple[bytes, FileInfo]:
        with open(path, "rb") as file:
            before = _local_info(path, os.fstat(file.fileno()))
            check_size(before.bytes, most)
            data = file.read(-1 if most is None else most + 1)
            after = _local_info(path, os.fstat(file.fileno()))
        if before != after or len(data) != after.bytes:
            raise ChangedError(f"{path} changed while it was read")
        return data, after

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        if version not in (None, _local_info(path, os.fstat(file.fileno())).version):
            file.close()
            raise ChangedError(f"{path} has changed since it was listed")
        return file

    def write(self, path: str, data: bytes) -> None:
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, temporary_name(name))
        try:
            with _create(temporary) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            self.delete(temporary)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = path  # a full disk does not say where
            raise

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        import fcntl

        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # on the folder: no lock file to leave behind
            info = self.stat(path)
            if (info.version if info else None) != expected:
                raise ChangedError(f"{path} was written by somebody else")
            self.write(path, data)
        finally:
            os.close(descriptor)

    def delete(self, path: str) -> None:
        try:
            os.remove(path)
        except FileNotFoundError:
            return


def arrow_filesystem(path: str) -> tuple[Any, str]:
    """The pyarrow filesystem that a path lies in, and the path as that filesystem writes it."""
    from pyarrow import fs

    if not is_remote(path):
        return fs.LocalFileSystem(), path
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    scheme, _, host = emulator.rpartition("://")
    options = {"endpoint_override": host, "scheme": scheme or "http", "anonymous": True}
    return fs.GcsFileSystem(**options if emulator else {}), path.removeprefix(GCS_PREFIX)


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


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _create(path: str) -> BinaryIO:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # the folder was empty, and has been removed
        return open(path, "xb")
    return _create(path)


def _local_info(path: str, state: os.stat_result) -> FileInfo:
    return FileInfo(path, f"{state.st_mtime_ns}-{state.st_size}", state.st_size)
