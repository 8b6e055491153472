"""The store for files on this machine."""

from __future__ import annotations

import contextlib
import os
import stat as stat_module
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import BinaryIO

from encoder.errors import ChangedError
from encoder.storage.base import FileInfo, check_size, join, temporary_name
from encoder.storage.file_systems import open_regular, special_file_system
from encoder.storage.replacing import (
    ONE,
    check_commits,
    claim,
    drop_old_claims,
    locked,
    machine_of,
    sharing_of,
)


class LocalStore:
    """Files on this machine."""

    def stat(self, path: str) -> FileInfo | None:
        try:
            state = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat_module.S_ISREG(state.st_mode) or special_file_system(state):
            return None
        return _local_info(path, state)

    def modified(self, path: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(os.stat(path).st_mtime, timezone.utc)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        for base, folders, names in os.walk(folder, onerror=_raise_unless_gone):
            if not deep:
                folders.clear()
            for name in names:
                path = join(base, name)
                inside = path.removeprefix(join(folder, ""))
                info = self.stat(path) if inside.startswith(start) else None
                if info is not None:  # deleted since the folder was read
                    yield info

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        with self.open(path, version) as file:
            return read_opened(file, path, most)

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        file = open_regular(path)
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
                error.filename = path  # the error of a full disk names no file
            raise

    def create(self, path: str, data: bytes) -> bool:
        if os.path.lexists(path):
            return False
        self.write(path, data)
        return True

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        folder = os.path.dirname(path)
        check_commits(folder)
        os.makedirs(folder, exist_ok=True)
        shared = sharing_of(folder) != ONE
        with locked(folder, needed=not shared) as has_lock:
            if self._current_version(path) != expected:
                raise ChangedError(f"{path} was written by somebody else")
            if shared:
                claim(path, expected, machine_of(folder, has_lock))
            self.write(path, data)
            if shared:
                drop_old_claims(path, expected)

    def _current_version(self, path: str) -> str | None:
        """The version of a file that is opened: of a shared one, stat may give an older state."""
        try:
            with self.open(path) as file:
                return _local_info(path, os.fstat(file.fileno())).version
        except FileNotFoundError:
            return None

    def move(self, path: str, target: str) -> None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.replace(path, target)
        except FileNotFoundError:
            if not os.path.exists(target):
                raise

    def delete(self, path: str) -> None:
        try:
            os.remove(path)
        except FileNotFoundError:
            return


def read_opened(file: BinaryIO, path: str, most: int | None) -> tuple[bytes, FileInfo]:
    """Read a whole local file that is open; see Store.read.

    Raises:
        TooLargeError: the file has more than `most` bytes.
        ChangedError: the file was written during the read.
    """
    before = _local_info(path, os.fstat(file.fileno()))
    check_size(before.bytes, most)
    data = file.read(-1 if most is None else most + 1)
    after = _local_info(path, os.fstat(file.fileno()))
    if before != after or len(data) != after.bytes:
        raise ChangedError(f"{path} changed while it was read")
    return data, after


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _create(path: str) -> BinaryIO:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # somebody removed the empty folder meanwhile
        return open(path, "xb")
    return _create(path)


def _local_info(path: str, state: os.stat_result) -> FileInfo:
    return FileInfo(path, f"{state.st_mtime_ns}-{state.st_size}", state.st_size)
