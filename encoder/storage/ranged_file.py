"""Read a large file of a store in ranges."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LEAST_BYTES, _MOST_BYTES = 256 << 10, 8 << 20  # per request; less only at the end of the file


def opened_in_ranges(size: int, fetch: Callable[[int, int], bytes]) -> BinaryIO:
    """A file object that fetches the ranges it needs.

    Args:
        size: of the file, in bytes.
        fetch: returns the bytes [start, end).
    """
    return cast(BinaryIO, io.BufferedReader(_Ranges(size, fetch)))


class _Ranges(io.RawIOBase):
    """The size of a range doubles while the file is read in order."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._place = 0
        self._start = 0  # of the held bytes
        self._held = b""
        self._step = _LEAST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._place >= self._size or not view:
            return 0
        end = self._start + len(self._held)
        if not self._start <= self._place < end:
            in_order = self._place == end and end > 0
            self._step = min(2 * self._step, _MOST_BYTES) if in_order else _LEAST_BYTES
            count = max(self._step, min(len(view), _MOST_BYTES))
            self._held = self._fetch(self._place, min(self._place + count, self._size))
            self._start = self._place
        offset = self._place - self._start
        piece = self._held[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        """The rest of the file; the inherited method would read pieces of 8 KiB."""
        return b"".join(iter(lambda: self.read(_MOST_BYTES) or b"", b""))
