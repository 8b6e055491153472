"""Files on disk and objects in Google Cloud Storage behind one small interface.

The only module that knows how ``gs://`` is spoken to. A *version* is what a store says of a file's
state: an object's generation, a local file's mtime (ns) and size. Equal versions, equal content.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat as stat_module
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from encoder.errors import ChangedError, InputError

GCS_PREFIX = "gs://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_POOLED_CONNECTIONS = 64
_TIMEOUT_SECONDS = 60.0


class FileInfo(NamedTuple):
    """One file: its path, the version its store gives it, its size in bytes."""

    path: str
    version: str
    bytes: int


class Store(Protocol):
    """What the project needs of a place where files are kept."""

    def stat(self, path: str) -> FileInfo | None:
        """The file's state, or None where there is no such file."""

    def is_folder(self, path: str) -> bool:
        """Whether anything can be listed below this path."""

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        """Every file below the folder, at any depth, in no particular order."""

    def read(self, path: str) -> tuple[bytes, FileInfo]:
        """The content together with the state that it was read in."""

    def open(self, path: str) -> BinaryIO:
        """Open for reading here and there in a file, such as the columns of a Parquet file."""

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
    if scheme and scheme[0] != GCS_PREFIX:
        raise InputError(f"{text!r}: only local paths and gs:// are supported, not {scheme[0]}")
    if is_remote(text):
        split_gcs(text)
        return text.rstrip("/")
    return os.path.abspath(os.path.expanduser(text))


def join(folder: str, *names: str) -> str:
    """Join path parts with slashes."""
    return "/".join([folder.rstrip("/"), *names])


def store_for(path: str) -> Store:
    """The store in which a path lies."""
    return GcsStore() if is_remote(path) else LocalStore()


class LocalStore:
    """Files on this machine."""

    def stat(self, path: str) -> FileInfo | None:
        try:
            state = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _local_info(path, state) if stat_module.S_ISREG(state.st_mode) else None

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        for base, _, names in os.walk(folder, onerror=_raise_unless_gone):
            for name in names:
                path = join(base, name)
                info = self.stat(path)
                if info is not None:  # deleted since the folder was read
                    yield info

    def read(self, path: str) -> tuple[bytes, FileInfo]:
        with open(path, "rb") as file:
            before = _local_info(path, os.fstat(file.fileno()))
            data = file.read()
            after = _local_info(path, os.fstat(file.fileno()))
        if before != after or len(data) != after.bytes:
            raise ChangedError(f"{path} changed while it was read")
        return data, after

    def open(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def write(self, path: str, data: bytes) -> None:
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, temporary_name(name))
        try:
            with _create(temporary) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            self.delete(temporary)
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


class GcsStore:
    """Objects in Google Cloud Storage, through one pooled client per process."""

    def stat(self, path: str) -> FileInfo | None:
        bucket, name = split_gcs(path)
        if not name:
            return None
        blob = gcs_client().bucket(bucket).get_blob(name, timeout=_TIMEOUT_SECONDS)
        return None if blob is None else _blob_info(path, blob)

    def is_folder(self, path: str) -> bool:
        return next(self.list_files(path), None) is not None

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        bucket, name = split_gcs(folder)
        blobs = gcs_client().list_blobs(
            bucket,
            prefix=name.rstrip("/") + "/" if name else None,
            fields="items(name,generation,size),nextPageToken",
            timeout=_TIMEOUT_SECONDS,
        )
        for blob in blobs:
            if not blob.name.endswith("/"):  # a placeholder that some tools make for a folder
                yield _blob_info(f"{GCS_PREFIX}{bucket}/{blob.name}", blob)

    def read(self, path: str) -> tuple[bytes, FileInfo]:
        bucket, name = split_gcs(path)
        blob = gcs_client().bucket(bucket).get_blob(name, timeout=_TIMEOUT_SECONDS)
        if blob is None:
            raise FileNotFoundError(f"{path} does not exist")
        pinned = gcs_client().bucket(bucket).blob(name, generation=blob.generation)
        return pinned.download_as_bytes(timeout=_TIMEOUT_SECONDS), _blob_info(path, blob)

    def open(self, path: str) -> BinaryIO:
        bucket, name = split_gcs(path)
        blob = gcs_client().bucket(bucket).blob(name)
        return cast(BinaryIO, blob.open("rb", timeout=_TIMEOUT_SECONDS))

    def write(self, path: str, data: bytes) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        bucket, name = split_gcs(path)
        # Writing the same bytes once more does no harm, so any failed attempt may be repeated.
        gcs_client().bucket(bucket).blob(name).upload_from_string(
            data,
            content_type="application/octet-stream",
            timeout=_TIMEOUT_SECONDS,
            retry=DEFAULT_RETRY,
        )

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        from google.api_core.exceptions import PreconditionFailed

        bucket, name = split_gcs(path)
        try:
            gcs_client().bucket(bucket).blob(name).upload_from_string(
                data,
                content_type="application/json",
                if_generation_match=int(expected) if expected else 0,
                timeout=_TIMEOUT_SECONDS,
            )
        except PreconditionFailed as error:
            # A retry after a lost answer meets its own first attempt.
            if self.stat(path) is not None and self.read(path)[0] == data:
                return
            raise ChangedError(f"{path} was written by somebody else") from error

    def delete(self, path: str) -> None:
        from google.api_core.exceptions import NotFound

        bucket, name = split_gcs(path)
        try:
            gcs_client().bucket(bucket).blob(name).delete(timeout=_TIMEOUT_SECONDS)
        except NotFound:
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


@functools.cache
def gcs_client() -> Any:
    """This process' client, with enough pooled connections for its reading threads."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    try:
        client = storage.Client()
    except DefaultCredentialsError as error:
        raise InputError(f"gs:// needs credentials for Google Cloud: {error}") from error
    adapter = HTTPAdapter(pool_connections=_POOLED_CONNECTIONS, pool_maxsize=_POOLED_CONNECTIONS)
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    return client


def split_gcs(path: str) -> tuple[str, str]:
    """``gs://bucket/a/b`` as ``("bucket", "a/b")``."""
    bucket, _, name = path.removeprefix(GCS_PREFIX).partition("/")
    if not bucket:
        raise InputError(f"{path!r} names no bucket; expected gs://BUCKET/PATH")
    return bucket, name


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


def _blob_info(path: str, blob: Any) -> FileInfo:
    return FileInfo(path, str(blob.generation), int(blob.size))
