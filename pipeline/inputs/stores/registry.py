"""The stores that images may be read from besides Google Cloud Storage; nothing is written there.

What they need is imported when a path in one is met.
"""

from __future__ import annotations

import functools
import importlib

from encoder.errors import InputError
from encoder.storage.base import Store
from encoder.storage.registry import add_store

# What of Python has to be there, and the extra of apache-beam that brings it.
_NEEDS = {
    "azfs://": ("azure.storage.blob", "azure"),
    "hdfs://": ("hdfs", "hadoop"),
    "s3://": ("boto3", "aws"),
}


def add_other_stores() -> None:
    """Make their paths known; this imports nothing else."""
    for prefix in _NEEDS:
        add_store(prefix, functools.partial(_store, prefix), writable=False)


def is_other_store(path: str) -> bool:
    """Whether a path lies in one of them."""
    return path.startswith(tuple(_NEEDS))


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
