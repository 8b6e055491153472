"""Part files: rows are collected, written whole, read back by column, and rewritten."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encoder.spec import EncoderSpec
from encoder.storage import join, store_for
from pipeline.dataset import part_path
from pipeline.records import EMBEDDINGS, FAILURES, Embedded, Failure, Known, Part, Touched
from pipeline.schema import schema_of

# What a run that is killed loses per worker at most, besides what it had just begun.
MAX_ROWS = 1024
MAX_SECONDS = 60.0
MAX_BYTES = 64 << 20

_NAME_DIGITS = 24


@dataclasses.dataclass(frozen=True)
class PartWriter:
    """Writes parts of one run: where to, for which encoder."""

    output: str
    run_id: str
    spec: EncoderSpec

    def write(self, kind: str, table: pa.Table, load_ids: Sequence[str] = ()) -> Part:
        """Write a table as one part. It appears whole or not at all.

        The name says what the part holds, so that work repeated by a retry replaces its own
        earlier file and does not stand beside it.
        """
        path = part_path(kind, self.spec.id, self.run_id, _content_name(table))
        buffer = io.BytesIO()
        pq.write_table(
            table,
            buffer,
            compression="zstd",
            use_dictionary=kind == FAILURES,
            use_byte_stream_split=["embedding.list.element"] if kind == EMBEDDINGS else False,
        )
        data = buffer.getvalue()
        full = join(self.output, path)
        store_for(full).write(full, data)
        return Part(kind, path, table.num_rows, len(data), tuple(load_ids))

    def write_embeddings(self, rows: Sequence[Embedded]) -> Part:
        """Write embedded images as one part."""
        vectors = np.stack([row.embedding for row in rows]).astype(np.float32, copy=False)
        embedding = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), self.spec.dim)
        columns = {name: [getattr(row, name) for row in rows] for name in _PLAIN_COLUMNS}
        schema = schema_of(EMBEDDINGS, self.spec)
        arrays = [
            embedding if field.name == "embedding" else pa.array(columns[field.name], field.type)
            for field in schema
        ]
        loads = sorted({row.load_id for row in rows})
        return self.write(EMBEDDINGS, pa.Table.from_arrays(arrays, schema=schema), loads)

    def write_failures(self, rows: Sequence[Failure]) -> Part:
        """Write failed images as one part."""
        schema = schema_of(FAILURES, self.spec)
        return self.write(
            FAILURES, pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
        )

    def rewrite(
        self, kind: str, path: str, stale: set[str], touched: Mapping[str, Touched]
    ) -> Part | None:
        """Write a part again without its stale rows, and with new versions for touched images.

        Gives None where no row is left. The old file stays; the commit removes it.
        """
        table = read_part(self.output, path)
        uris = table.column("uri").to_pylist()
        versions = [
            touched[uri].version if uri in touched else version
            for uri, version in zip(uris, table.column("version").to_pylist(), strict=True)
        ]
        place = table.schema.get_field_index("version")
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array(versions, field.type))
        keep = pa.array([uri in touched or uri not in stale for uri in uris])
        table = table.filter(keep)
        return self.write(kind, table) if table.num_rows else None


class PartBuffer:
    """Collects rows and says when they are enough for a part.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: list[Any] = []
        self._bytes = 0
        self._since = 0.0

    def add(self, row: Any, size: int) -> bool:
        """Take a row of about so many bytes; gives whether it is time to write."""
        if not self._rows:
            self._since = self._clock()
        self._rows.append(row)
        self._bytes += size
        return (
            len(self._rows) >= MAX_ROWS
            or self._bytes >= MAX_BYTES
            or self._clock() - self._since >= MAX_SECONDS
        )

    def __bool__(self) -> bool:
        return bool(self._rows)

    def take(self) -> list[Any]:
        """All rows so far; the buffer is empty afterwards."""
        rows, self._rows, self._bytes = self._rows, [], 0
        return rows


class KnownRow(NamedTuple):
    """A row of a part, by its uri."""

    uri: str
    known: Known


def read_known(output: str, part: Part, committed: bool) -> list[KnownRow]:
    """Read what planning needs of a part: the key columns, not the vectors."""
    full = join(output, part.path)
    extra = "sha256" if part.kind == EMBEDDINGS else "stage"
    with store_for(full).open(full) as file:
        columns = pq.read_table(file, columns=["uri", "version", extra]).to_pydict()
    rows = zip(columns["uri"], columns["version"], columns[extra], strict=True)
    if part.kind == EMBEDDINGS:
        return [
            KnownRow(uri, Known(part.path, version, sha256, "", committed))
            for uri, version, sha256 in rows
        ]
    return [
        KnownRow(uri, Known(part.path, version, "", stage, committed))
        for uri, version, stage in rows
    ]


def read_part(output: str, path: str) -> pa.Table:
    """A whole part."""
    full = join(output, path)
    with store_for(full).open(full) as file:
        return pq.read_table(file)


def count_rows(output: str, path: str) -> tuple[int, int]:
    """A part's rows, and its size in bytes."""
    full = join(output, path)
    info = store_for(full).stat(full)
    if info is None:
        raise FileNotFoundError(f"{full} is gone; another run has removed it")
    with store_for(full).open(full) as file:
        return pq.read_metadata(file).num_rows, info.bytes


_PLAIN_COLUMNS = ("uri", "width", "height", "bytes", "version", "sha256")


def _content_name(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for row in zip(*(table.column(name).to_pylist() for name in ("uri", "version")), strict=True):
        digest.update("\0".join(row).encode() + b"\1")
    return digest.hexdigest()[:_NAME_DIGITS]
