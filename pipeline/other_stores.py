"""The stores that images may be read from besides Google Cloud Storage; nothing is written there.

What they need is imported when a path in one is met.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn, cast

from encoder.errors import InputError
from encoder.storage import Store, add_store, normalize

_CHUNK_BYTES = 8 << 20  # of a file that is read in order, per request

# What of Python has to be there, and the extra of apache-beam that brings it.
_NEEDS = {
    "azfs://": ("azure.storage.blob", "azure"),
    "hdfs://": ("hdfs", "hadoop"),
    "s3://": ("boto3", "aws"),
}


class InputStore:
    """The half of a Store that writes, for stores that are only read."""

    def write(self, path: str, data: bytes) -> NoReturn:
        """Refuse."""
        raise _input_only(path)

    def create(self, path: str, data: bytes) -> NoReturn:
        """Refuse."""
        raise _input_only(path)

    def write_if(self, path: str, data: bytes, expected: str | None) -> NoReturn:
        """Refuse."""
        raise _input_only(path)

    def delete(self, path: str) -> NoReturn:
        """Refuse."""
        raise _input_only(path)


class Ranges(io.RawIOBase):
    """A file of which any range of bytes can be fetched.

    Args:
        size: of the file, in bytes.
        fetch: gives the bytes from a place up to another one, which is not included.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on reading elsewhere."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; 0 at the end."""
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        data = self._fetch(self._place, end)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Read the rest at once; Python itself would ask for 8 KiB at a time."""
        start, self._place = self._place, max(self._place, self._size)
        return self._fetch(start, self._size) if start < self._size else b""


def buffered(ranges: Ranges) -> BinaryIO:
    """The file as it is read in Python, a large range at a time."""
    return cast(BinaryIO, io.BufferedReader(ranges, _CHUNK_BYTES))


def add_other_stores() -> None:
    """Make their paths known; this imports nothing else."""
    for prefix in _NEEDS:
        add_store(prefix, functools.partial(_store, prefix))


def is_other_store(path: str) -> bool:
    """Whether a path lies in one of them."""
    return path.startswith(tuple(_NEEDS))


def output_folder(output: str | os.PathLike[str]) -> str:
    """The path of an ``--output`` as this project writes it.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        place = normalize(output)
    except InputError as error:
        raise InputError(f"--output {error}") from error
    if is_other_store(place):
        raise InputError(f"--output {_input_only(place)}")
    return place


def _store(prefix: str) -> Store:
    package, extra = _NEEDS[prefix]
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{prefix} needs a package that is not installed ({error}); "
            f"pip install 'apache-beam[{extra}]'"
        ) from error
    if prefix == "s3://":
        from pipeline.s3 import S3Store

        return S3Store()
    from pipeline.beam_files import BeamStore

    return BeamStore(prefix)


def _input_only(path: str) -> InputError:
    scheme = path.partition("://")[0]
    return InputError(f"{path!r}: {scheme}:// is for input only; expected a local path or gs://")
