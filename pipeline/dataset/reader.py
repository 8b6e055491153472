"""The reader of a dataset, on disk or in a bucket."""

from __future__ import annotations

import os
from typing import Any

import pyarrow.dataset as pa_dataset
from pyarrow import fs

from encoder.errors import InputError
from encoder.storage.base import GCS_PREFIX, join
from encoder.storage.registry import is_remote
from pipeline.dataset.layout import output_folder
from pipeline.dataset.manifest import existing_manifest
from pipeline.dataset.schema import extra_columns_of, schema_of
from pipeline.records import EMBEDDINGS


def open_dataset(output: str | os.PathLike[str], encoder: str | None = None) -> pa_dataset.Dataset:
    """Open the last committed state of one encoder's embeddings.

    Runs that go on beside it do not change what it reads; if a later commit has removed a file
    meanwhile, reading raises FileNotFoundError, and opening again helps.

    Args:
        output: the ``--output`` of the job, local or gs://.
        encoder: an encoder id; may be left out where the dataset has only one.

    Raises:
        InputError: there is no dataset, or no such encoder in it.
    """
    base = output_folder(output)
    manifest, _ = existing_manifest(base)
    names = sorted(manifest.encoders)
    if (encoder is None and len(names) != 1) or (encoder is not None and encoder not in names):
        raise InputError(f"encoder is {encoder!r}; the dataset has {', '.join(names) or 'none'}")
    state = manifest.encoders[encoder or names[0]]
    filesystem, root = _arrow_filesystem(base)
    return pa_dataset.dataset(
        [join(root, part.path) for part in state.of_kind(EMBEDDINGS)],
        schema=schema_of(EMBEDDINGS, state.spec, extra_columns_of(base, state)),
        format="parquet",
        filesystem=filesystem,
    )


def _arrow_filesystem(path: str) -> tuple[Any, str]:
    """The pyarrow filesystem that a path lies in, and the path as that filesystem writes it."""
    if not is_remote(path):
        return fs.LocalFileSystem(), path
    from encoder.storage.gcs.client import is_anonymous

    options: dict[str, Any] = {"anonymous": is_anonymous()}
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        scheme, _, host = emulator.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "http"}
    return fs.GcsFileSystem(**options), path.removeprefix(GCS_PREFIX)
