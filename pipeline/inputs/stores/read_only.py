"""A store that is only read from: refuses to write."""

from __future__ import annotations

from typing import NoReturn

from encoder.storage.registry import read_only_error


class InputStore:
    """The half of a Store that writes, for stores that are only read."""

    def write(self, path: str, data: bytes) -> NoReturn:
        """Refuse."""
        raise read_only_error(path)

    def create(self, path: str, data: bytes) -> NoReturn:
        """Refuse."""
        raise read_only_error(path)

    def write_if(self, path: str, data: bytes, expected: str | None) -> NoReturn:
        """Refuse."""
        raise read_only_error(path)

    def delete(self, path: str) -> NoReturn:
        """Refuse."""
        raise read_only_error(path)
