"""Open a dataset, on disk or in a bucket, with pyarrow."""

from __future__ import annotations

import os

import pyarrow.dataset as pa_dataset
from pyarrow import fs

from encoder.errors import InputError
from encoder.storage.base import GCS_PREFIX
from encoder.storage.registry import is_remote
from pipeline.dataset.layout import full_path, output_folder
from pipeline.dataset.manifest import existing_manifest
from pipeline.dataset.schema import extra_columns_of, schema_of
from pipeline.records import EMBEDDINGS


def open_dataset(output: str | os.PathLike[str], encoder: str | None = None) -> pa_dataset.Dataset:
    """Open the last committed state of one encoder's embeddings.

    Later runs do not change what the returned dataset reads. If a later commit has removed one of
    its files, reading raises FileNotFoundError: open the dataset again.

    Columns:
        uri: string, of the image.
        embedding: fixed_size_list<float32>[dim].
        width, height: int32, pixels, as stored in the image file.
        bytes: int64, size of the image file.
        version: string, of the image file, as its store reports it.
        sha256: string, of the file's content, in hex.
        truncated: bool; only in datasets of runs with ``--allow-truncated``.
        The carried columns follow under their own names.

    Args:
        output: the ``--output`` of the job, local or gs://.
        encoder: an encoder id; may be left out if the dataset has only one.

    Raises:
        InputError: there is no dataset, or no such encoder in it.
        JobError: the manifest or a part is damaged.
    """
    base = output_folder(output)
    manifest, _ = existing_manifest(base)
    names = sorted(manifest.encoders)
    if (encoder is None and len(names) != 1) or (encoder is not None and encoder not in names):
        raise InputError(f"encoder is {encoder!r}; the dataset has {', '.join(names) or 'none'}")
    state = manifest.encoders[encoder or names[0]]
    return pa_dataset.dataset(
        [full_path(base, part.path).removeprefix(GCS_PREFIX) for part in state.of_kind(EMBEDDINGS)],
        schema=schema_of(EMBEDDINGS, state.spec, extra_columns_of(base, state)),
        format="parquet",
        filesystem=_arrow_filesystem(base),
    )


def _arrow_filesystem(path: str) -> fs.FileSystem:
    """The pyarrow filesystem for a path."""
    if not is_remote(path):
        return fs.LocalFileSystem()
    from encoder.storage.gcs.client import is_anonymous

    options: dict[str, str | bool] = {"anonymous": is_anonymous()}
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        scheme, _, host = emulator.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "http"}
    return fs.GcsFileSystem(**options)
