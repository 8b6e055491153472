"""A large file in a store, read in ranges."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, cast

_LEAST_BYTES, _MOST_BYTES = 256 << 10, 8 << 20  # per request, if so much is left


def opened_in_ranges(size: int, fetch: Callable[[int, int], bytes]) -> BinaryIO:
    """A file of which any range of bytes can be fetched.

    Args:
        size: of the file, in bytes.
        fetch: gives the bytes from a place up to another one, which is not included.
    """
    return cast(BinaryIO, io.BufferedReader(_Ranges(size, fetch)))


class _Ranges(io.RawIOBase):
    """Ranges grow as long as reading goes on in order."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._place = 0
        self._start = 0  # of what is held
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

    def readinto(self, buffer: Any) -> int:
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
        """The rest, not in pieces of 8 KiB as Python's own."""
        return b"".join(iter(lambda: self.read(_MOST_BYTES) or b"", b""))
