"""Files in a store that one of Beam's FileSystems serves.

A version is the time of the last change and the size: a change to other content of the same size,
within the resolution of the time, is not detected.
"""

from __future__ import annotations

import calendar
import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from encoder.errors import ChangedError, InputError
from encoder.storage.base import FileInfo, check_size, join
from encoder.storage.ranged_file import opened_in_ranges
from pipeline.inputs.stores.read_only import InputStore

# Beam treats the UTC times of this store as local times.
_TAKEN_FOR_LOCAL = "azfs://"
_NO_FOLDER = "is not a directory"  # from the hdfs package's error


class BeamStore(InputStore):
    """Files in one of Beam's FileSystems.

    Args:
        prefix: of the store's paths, such as hdfs://.

    Raises:
        InputError: an option of Beam that the store needs is missing.
    """

    def __init__(self, prefix: str) -> None:
        self._local_time = prefix == _TAKEN_FOR_LOCAL
        try:
            self._system = FileSystems.get_filesystem(f"{prefix}any")
        except ValueError as error:  # "hdfs_host is not set"
            raise InputError(f"{prefix}: {error}; see the options of Apache Beam") from error

    def stat(self, path: str) -> FileInfo | None:
        try:
            return self._info(self._metadata(path))
        except FileNotFoundError:
            return None

    def modified(self, path: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._seconds(self._metadata(path)), timezone.utc)
        except FileNotFoundError:
            return None

    def is_folder(self, path: str) -> bool:
        return next(self.list_files(path), None) is not None

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        for found in self._below(join(folder, start.rpartition("/")[0]).rstrip("/"), deep):
            inside = found.path.removeprefix(join(folder, ""))
            if inside.startswith(start) and (deep or "/" not in inside.removeprefix(start)):
                yield self._info(found)

    def _below(self, folder: str, deep: bool) -> Iterator[FileMetadata]:
        # Beam's match needs a glob, which has no quoting, and keeps all names in memory; _list
        # doesn't. It gives all files below a prefix or, in a store with folders, the content of
        # one folder, without marking folders: these have no bytes, and can be listed.
        waiting: list[tuple[str, FileMetadata | None]] = [(folder, None)]
        while waiting:
            place, empty = waiting.pop()
            with _translated_errors(place):
                try:
                    for found in self._system._list(f"{place}/"):
                        if empty and not deep:
                            break  # a folder, whose content is not wanted
                        if self._system.has_dirs() and not found.size_in_bytes:
                            waiting.append((found.path, found))
                        elif not found.path.endswith("/"):  # else a placeholder for a folder
                            yield found
                except BeamIOError as error:
                    if empty is None or _NO_FOLDER not in str(_cause(error)):
                        raise
                    yield empty

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        before = self._expected(path, version)
        check_size(before.bytes, most)
        with _translated_errors(path), self._opened(path) as file:
            data = file.read(before.bytes + 1)  # without a size, Beam reads 8 KiB at a time
        if self._info(self._metadata(path)) != before or len(data) != before.bytes:
            raise ChangedError(f"{path} changed while it was read")
        return data, before

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        size = self._expected(path, version).bytes
        with _translated_errors(path):
            file = self._opened(path)

        def fetch(start: int, end: int) -> bytes:
            with _translated_errors(path):
                file.seek(start)
                return file.read(end - start)

        return opened_in_ranges(size, fetch)

    def _opened(self, path: str) -> BinaryIO:
        file: BinaryIO = self._system.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return file

    def _expected(self, path: str, version: str | None) -> FileInfo:
        info = self._info(self._metadata(path))
        if version not in (None, info.version):
            raise ChangedError(f"{path} has changed since it was listed")
        return info

    def _metadata(self, path: str) -> FileMetadata:
        with _translated_errors(path):
            try:
                return self._system.metadata(path)
            except BeamIOError as error:
                if self._system.exists(path):
                    raise
                raise FileNotFoundError(f"{path} does not exist") from error

    def _info(self, found: FileMetadata) -> FileInfo:
        size = int(found.size_in_bytes)
        return FileInfo(found.path, f"{round(self._seconds(found) * 1000)}-{size}", size)

    def _seconds(self, found: FileMetadata) -> float:
        seconds = float(found.last_updated_in_seconds)
        if not self._local_time:
            return seconds
        # Undo that, so that a version does not depend on the time zone of a worker.
        return calendar.timegm(time.localtime(seconds + time.timezone)) + seconds % 1


@contextlib.contextmanager
def _translated_errors(path: str) -> Iterator[None]:
    """Turn all errors of the libraries behind Beam into an OSError that names the path."""
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, FileNotFoundError):
            raise FileNotFoundError(f"{path} does not exist") from error
        code = getattr(cause, "code", None) or getattr(cause, "status_code", None)
        kinds: dict[object, type[OSError]] = {
            401: PermissionError,
            403: PermissionError,
            404: FileNotFoundError,
        }
        text = " ".join(str(cause).split()) or type(cause).__name__
        raise kinds.get(code, OSError)(f"{path}: {text}") from error


def _cause(error: Exception) -> Exception:
    """The error that Beam has wrapped."""
    details = getattr(error, "exception_details", None) or {}
    return next((each for each in details.values() if isinstance(each, Exception)), error)
