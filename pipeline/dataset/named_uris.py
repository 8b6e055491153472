"""The uris that lists named in earlier runs: a file in the output for each state of a list.

A later run compares a list with its file to find the images that the list no longer names.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage.registry import store_for
from pipeline.dataset.layout import full_path, uris_path
from pipeline.dataset.manifest import removed_meanwhile, unreadable
from pipeline.records import ListState

_BATCH_ROWS = 65536
_LIST_KEY = b"list"  # in the Parquet schema metadata: the list's uri
_URIS = pa.schema([pa.field("uri", pa.string(), nullable=False)])


class NamedUris:
    """Collects the uris that a list names, and writes them to a file.

    Args:
        list_uri: the list's uri. The file's metadata holds it too, so that a manifest can be
            rebuilt from the files.
    """

    def __init__(self, list_uri: str) -> None:
        self._list_uri = list_uri
        self._rows: list[str] = []
        self._digest = hashlib.sha256(list_uri.encode() + b"\0")
        self._buffer = io.BytesIO()
        schema = _URIS.with_metadata({_LIST_KEY: list_uri.encode()})
        self._writer = pq.ParquetWriter(
            self._buffer, schema, compression="zstd", write_page_checksum=True
        )

    def add(self, uri: str) -> None:
        """Add the next uri that the list names."""
        self._digest.update(uri.encode() + b"\0")
        self._rows.append(uri)
        if len(self._rows) == _BATCH_ROWS:
            self._flush()

    def write(self, output: str, encoder_id: str) -> ListState:
        """Write the file, if it does not exist yet."""
        self._flush()
        self._writer.close()
        relative = uris_path(encoder_id, self._digest.hexdigest())
        full = full_path(output, relative)
        store_for(full).create(full, self._buffer.getvalue())
        return ListState(self._list_uri, relative)

    def _flush(self) -> None:
        self._writer.write_table(pa.table({"uri": self._rows}, schema=_URIS))
        self._rows = []


def read_uris(output: str, state: ListState) -> Iterator[str]:
    """The uris that a list named in an earlier run.

    Raises:
        JobError: another run has removed the file, or it is damaged.
    """
    path = full_path(output, state.uris_path)
    try:
        opened = store_for(path).open(path)
    except FileNotFoundError:
        raise removed_meanwhile(state.uris_path) from None
    try:
        with opened as file:
            uris = pq.ParquetFile(file, page_checksum_verification=True)
            check_uris(uris)
            for batch in uris.iter_batches(_BATCH_ROWS, columns=["uri"]):
                yield from batch.column(0).to_pylist()
    except pa.ArrowException as error:
        raise unreadable(state.uris_path, error) from error


def check_uris(file: pq.ParquetFile) -> None:
    """Raise ArrowInvalid unless a file has a column of uris."""
    schema = file.schema_arrow
    if "uri" not in schema.names or schema.field("uri").type != pa.string():
        raise pa.ArrowInvalid("it has no column uri of strings")


def list_of(output: str, path: str) -> ListState | None:
    """The list that a file of uris belongs to, by its metadata.

    None if the file is missing, unreadable or without that metadata.
    """
    full = full_path(output, path)
    try:
        with store_for(full).open(full) as file:
            metadata = pq.read_schema(file).metadata or {}
        return ListState(metadata[_LIST_KEY].decode(), path) if _LIST_KEY in metadata else None
    except (OSError, UnicodeError, pa.ArrowException):
        return None
