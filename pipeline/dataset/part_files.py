"""Read and write single part files, batch by batch: a dataset need not fit in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage.registry import store_for
from pipeline.dataset.layout import final, full_path, is_staged, part_path, staged
from pipeline.dataset.values import to_plain
from pipeline.records import EMBEDDINGS, Kind, Part

BATCH_ROWS = 4096
BATCH_BYTES = 16 << 20
UNREADABLE = (OSError, ValueError, KeyError, pa.ArrowException)  # errors that damaged parts raise
# Size of a row group; readers skip whole row groups by their statistics.
GROUP_ROWS = 16384
GROUP_BYTES = 64 << 20
_NAME_DIGITS = 24


def parquet_options(kind: Kind) -> dict[str, str | bool | list[str]]:
    """pyarrow's options for writing parts. Page checksums show damage without the manifest."""
    return {
        "compression": "zstd",
        "use_dictionary": kind != EMBEDDINGS,
        "use_byte_stream_split": ["embedding.list.element"] if kind == EMBEDDINGS else False,
        "write_page_checksum": True,
    }


def checksum(data: bytes) -> str:
    """The CRC-32C of a file, 8 hex digits."""
    value: int = google_crc32c.value(data)
    return f"{value:08x}"


class ContentName:
    """Names a part by a digest of its content, without the vectors.

    Vectors are left out, as their last bits depend on the batches that they were computed in.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Add rows."""
        names = [name for name in rows.schema.names if name != "embedding"]
        self._digest.update(repr(names).encode())
        for row in zip(*(to_plain(rows.column(name)) for name in names), strict=True):
            self._digest.update(repr(row).encode())

    def text(self) -> str:
        """The name of a part with all rows added so far, 24 hex digits."""
        return self._digest.hexdigest()[:_NAME_DIGITS]


def put_part(output: str, path: str, data: bytes) -> bytes:
    """Write a part, which appears whole or not at all. Returns the content of its file.

    If an earlier attempt has written the same rows, its file stays, and its content is returned:
    the last bits of its vectors may differ.
    """
    full = full_path(output, path)
    store = store_for(full)
    if store.create(full, data):
        return data
    there = store.read(full)[0]
    try:
        name = ContentName()
        name.add(pq.ParquetFile(io.BytesIO(there), page_checksum_verification=True).read())
        if f"part-{name.text()}.parquet" == path.rpartition("/")[2]:
            return there
    except UNREADABLE:
        pass
    store.write(full, data)
    return data


def place_of(output: str, path: str) -> str:
    """The full path of a part, which may have moved to its final path since it was listed."""
    full = full_path(output, path)
    if is_staged(path) and store_for(full).stat(full) is None:
        return full_path(output, final(path))
    return full


@contextlib.contextmanager
def opened(output: str, path: str) -> Iterator[pq.ParquetFile]:
    """Open a part; reading checks the checksums of its pages.

    Raises:
        FileNotFoundError: there is no such part.
    """
    full = place_of(output, path)
    with store_for(full).open(full) as file:
        yield pq.ParquetFile(file, page_checksum_verification=True)


class PartStream:
    """A part that grows batch by batch. Its file is held in memory until it is written.

    Args:
        kind: the part's kind.
        schema: the schema of its rows, with metadata.
    """

    def __init__(self, kind: Kind, schema: pa.Schema) -> None:
        self._kind = kind
        self._buffer = io.BytesIO()
        self._writer = pq.ParquetWriter(self._buffer, schema, **parquet_options(kind))
        self._name = ContentName()
        self._rows = 0
        self._waiting: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Add rows with the columns of the schema."""
        self._waiting.append(rows)
        self._name.add(rows)
        self._rows += len(rows)
        waiting = sum(len(each) for each in self._waiting)
        if waiting >= GROUP_ROWS or sum(each.nbytes for each in self._waiting) >= GROUP_BYTES:
            self._flush()

    def write(self, output: str, encoder_id: str, run_id: str) -> Part | None:
        """Write the part, which appears whole or not at all, and waits in the staging folder.

        Returns None if it has no rows.
        """
        if not self._rows:
            return None
        self._flush()
        self._writer.close()
        path = staged(part_path(self._kind, encoder_id, run_id, self._name.text()))
        data = put_part(output, path, self._buffer.getvalue())
        return Part(self._kind, path, self._rows, len(data), crc32c=checksum(data))

    def _flush(self) -> None:
        rows = sum(len(each) for each in self._waiting)
        if rows:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=rows)
        self._waiting = []


def read_batches(output: str, path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a part, a few thousand at a time.

    Raises:
        *UNREADABLE: the part is damaged.
    """
    with opened(output, path) as file:
        yield from batches_of(file, columns)


def batches_of(file: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of an open part, a few thousand at a time; fewer where rows are large."""
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    size = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(size, 1)))
    for batch in file.iter_batches(rows, columns=columns):
        yield pa.Table.from_batches([batch])
