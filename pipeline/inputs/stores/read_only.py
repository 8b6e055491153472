"""Base class of the stores for input only."""

from __future__ import annotations

from typing import NoReturn

from encoder.storage.registry import read_only_error


class InputStore:
    """The writing methods of a Store; each raises an InputError."""

    def write(self, path: str, data: bytes) -> NoReturn:
        """Raise InputError."""
        raise read_only_error(path)

    def create(self, path: str, data: bytes) -> NoReturn:
        """Raise InputError."""
        raise read_only_error(path)

    def write_if(self, path: str, data: bytes, expected: str | None) -> NoReturn:
        """Raise InputError."""
        raise read_only_error(path)

    def move(self, path: str, target: str) -> NoReturn:
        """Raise InputError."""
        raise read_only_error(path)

    def delete(self, path: str) -> NoReturn:
        """Raise InputError."""
        raise read_only_error(path)
