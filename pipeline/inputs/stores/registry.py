"""The stores for input only, by the prefix of their paths.

A store's packages are imported when a path of it is first used.
"""

from __future__ import annotations

import functools
import importlib

from encoder.errors import InputError
from encoder.storage.base import Store
from encoder.storage.registry import add_store

# The package that a store needs, and the extra of apache-beam that installs it.
_NEEDS = {
    "azfs://": ("azure.storage.blob", "azure"),
    "hdfs://": ("hdfs", "hadoop"),
    "s3://": ("boto3", "aws"),
}


def add_other_stores() -> None:
    """Register these stores. Imports none of their packages."""
    for prefix in _NEEDS:
        add_store(prefix, functools.partial(_store, prefix), writable=False)


def is_other_store(path: str) -> bool:
    """Whether a path belongs to one of these stores."""
    return path.lower().startswith(tuple(_NEEDS))


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
