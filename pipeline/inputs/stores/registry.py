"""The stores that images may be read from besides Google Cloud Storage; nothing is written there.

What they need is imported when a path in one is met.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import NoReturn

from encoder.errors import InputError
from encoder.storage.base import Store
from encoder.storage.registry import add_store, normalize

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
        from pipeline.inputs.stores.s3 import S3Store

        return S3Store()
    from pipeline.inputs.stores.beam import BeamStore

    return BeamStore(prefix)


def _input_only(path: str) -> InputError:
    scheme = path.partition("://")[0]
    return InputError(f"{path!r}: {scheme}:// is for input only; expected a local path or gs://")
