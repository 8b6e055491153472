"""Part files: rows are collected, written whole, read back by column, and rewritten."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encoder.spec import EncoderSpec
from encoder.storage.base import join
from encoder.storage.registry import store_for
from pipeline.dataset.changes import LOG, Change
from pipeline.dataset.known_vectors import Contents, contents_of
from pipeline.dataset.layout import part_path
from pipeline.dataset.manifest import removed_meanwhile
from pipeline.dataset.part_files import ContentName, checksum, parquet_options, put_part
from pipeline.dataset.schema import NO_COLUMNS, TRUNCATED, schema_of
from pipeline.dataset.values import to_arrow, to_plain
from pipeline.records import (
    CHANGES,
    EMBEDDINGS,
    FAILURES,
    Embedded,
    Failure,
    Kind,
    KnownTuple,
    Load,
    Part,
    Touched,
)

# What a run that is killed loses per worker at most, besides what it had just begun.
MAX_ROWS = 1024
MAX_SECONDS = 60.0
MAX_BYTES = 64 << 20


_Row = TypeVar("_Row", Embedded, Failure)


@dataclasses.dataclass(frozen=True)
class PartWriter:
    """Writes parts of one run.

    Attributes:
        output, run_id: where to.
        spec: of the encoder.
        extra_columns: columns of embeddings besides those that all have.
    """

    output: str
    run_id: str
    spec: EncoderSpec
    extra_columns: pa.Schema = NO_COLUMNS

    @property
    def carried_names(self) -> tuple[str, ...]:
        """Columns that come from manifests, in the order of Embedded.carried."""
        return tuple(name for name in self.extra_columns.names if name != TRUNCATED.name)

    def write(self, kind: Kind, table: pa.Table, loads: Sequence[Load] = ()) -> Part:
        """Write a table as one part. It appears whole or not at all.

        The name says what the part holds, so that work repeated by a retry finds its own earlier
        file and does not stand beside it, and nothing is ever replaced.
        """
        path = part_path(kind, self.spec.id, self.run_id, _content_name(table))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, **parquet_options(kind))
        data = put_part(self.output, path, buffer.getvalue())
        return Part(kind, path, table.num_rows, len(data), tuple(loads), crc32c=checksum(data))

    def write_embeddings(self, rows: Sequence[Embedded]) -> Part:
        """Write embedded images as one part."""
        vectors = np.stack([row.embedding for row in rows]).astype(np.float32, copy=False)
        embedding = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), self.spec.dim)
        schema = schema_of(EMBEDDINGS, self.spec, self.extra_columns)
        arrays = [
            embedding
            if field.name == "embedding"
            else to_arrow([self._value(row, field.name) for row in rows], field.type)
            for field in schema
        ]
        loads = sorted({row.load for row in rows if row.load})
        part = self.write(EMBEDDINGS, pa.Table.from_arrays(arrays, schema=schema), loads)
        return part._replace(copied=sum(not row.load for row in rows))

    def write_failures(self, rows: Sequence[Failure]) -> Part:
        """Write failed images as one part."""
        schema = schema_of(FAILURES, self.spec)
        return self.write(
            FAILURES, pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
        )

    def write_changes(self, changes: Sequence[Change]) -> Part:
        """Write what the run changed, as one file of its log."""
        return self.write(CHANGES, pa.Table.from_pylist([c._asdict() for c in changes], LOG))

    def rewrite(
        self, kind: Kind, path: str, stale: set[str], touched: Mapping[str, Touched]
    ) -> Part | None:
        """Write a part again without its stale rows, and with new versions for touched images.

        Gives None where no row is left. The old file stays; the commit removes it.
        """
        table = self.conform(kind, read_part(self.output, path))
        uris = table.column("uri").to_pylist()
        for name in ("version", *self.carried_names) if touched else ():
            place = table.schema.get_field_index(name)
            field = table.schema.field(place)
            values = [
                self._renewed(touched.get(uri), name, value)
                for uri, value in zip(uris, to_plain(table.column(place)), strict=True)
            ]
            table = table.set_column(place, field, to_arrow(values, field.type))
        keep = pa.array([uri in touched or uri not in stale for uri in uris], pa.bool_())
        table = table.filter(keep)
        return self.write(kind, table) if table.num_rows else None

    def _value(self, row: Embedded, name: str) -> Any:
        if name in self.carried_names:
            return None if row.carried is None else row.carried[self.carried_names.index(name)]
        return getattr(row, name, None)

    def _renewed(self, touched: Touched | None, name: str, value: Any) -> Any:
        if touched is None:
            return value
        if name == "version":
            return touched.version
        return value if touched.carried is None else touched.carried[self.carried_names.index(name)]

    def conform(self, kind: Kind, table: pa.Table) -> pa.Table:
        """With the columns that this run's parts have; a reader by glob wants them all alike."""
        schema = schema_of(kind, self.spec, self.extra_columns)
        arrays = [
            table.column(field.name).cast(field.type, safe=False)
            if field.name in table.schema.names
            else pa.array([False if field == TRUNCATED else None] * len(table), field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(arrays, schema=schema)


class PartBuffer(Generic[_Row]):
    """Collects rows and says when they are enough for a part.

    Args:
        enough: rows that make a part.
        clock: seconds, monotonic.
    """

    def __init__(self, enough: int = MAX_ROWS, clock: Callable[[], float] = time.monotonic) -> None:
        self._enough = enough
        self._clock = clock
        self._rows: list[_Row] = []
        self._bytes = 0
        self._since = 0.0

    def add(self, row: _Row, size: int) -> bool:
        """Take a row of about so many bytes; gives whether it is time to write."""
        if not self._rows:
            self._since = self._clock()
        self._rows.append(row)
        self._bytes += size
        return (
            len(self._rows) >= self._enough
            or self._bytes >= MAX_BYTES
            or self._clock() - self._since >= MAX_SECONDS
        )

    def __bool__(self) -> bool:
        return bool(self._rows)

    def take(self) -> list[_Row]:
        """All rows so far, by uri, whatever order they came in; the buffer is empty afterwards."""
        rows, self._rows, self._bytes = self._rows, [], 0
        return sorted(rows, key=_uri)


def _uri(row: Embedded | Failure) -> str:
    return row.uri


class Keys(NamedTuple):
    """What planning needs of a part.

    Attributes:
        rows: its keys.
        outdated: whether it lacks columns that parts of this run have, or has others.
        contents: what its vectors are of; None for failures.
    """

    rows: list[KnownTuple]
    outdated: bool
    contents: Contents | None = None


def read_known(part: Part, committed: bool, writer: PartWriter) -> Keys:
    """Read what planning needs of a part: the key columns, not the vectors.

    Args:
        part: in the writer's output.
        committed: whether the manifest names it.
        writer: of this run.
    """
    full = join(writer.output, part.path)
    with store_for(full).open(full) as file:
        opened = pq.ParquetFile(file, page_checksum_verification=True)
        schema = opened.schema_arrow.remove_metadata()
        expected = schema_of(part.kind, writer.spec, writer.extra_columns).remove_metadata()
        carries = part.kind == EMBEDDINGS and all(
            name in schema.names for name in writer.carried_names
        )
        carried = writer.carried_names if carries else ()
        extra = "sha256" if part.kind == EMBEDDINGS else "stage"
        more = [TRUNCATED.name] if TRUNCATED.name in schema.names else []
        table = opened.read(columns=["uri", "version", extra, *carried, *more])
    keys = (table.column(name).to_pylist() for name in ("uri", "version", extra))
    values: Any = [None] * len(table)
    if carried:
        types = [expected.field(name).type for name in carried]
        columns = zip(carried, types, strict=True)
        casts = (table.column(name).cast(kind, safe=False) for name, kind in columns)
        values = zip(*map(to_plain, casts), strict=True)
    rows: list[KnownTuple] = []
    for uri, version, value, extra_columns in zip(*keys, values, strict=True):
        sha256, stage = (value, None) if part.kind == EMBEDDINGS else (None, value)
        rows.append((uri, part.path, version, sha256, stage, committed, extra_columns))
    if part.kind != EMBEDDINGS:
        return Keys(rows, schema != expected)
    # The vector of a damaged image is not that of its content for all times.
    damaged = table.column(more[0]).to_pylist() if more else [False] * len(rows)
    hashes = (None if cut else row[3] for row, cut in zip(rows, damaged, strict=True))
    return Keys(rows, schema != expected, contents_of(part.path, hashes))


def read_part(output: str, path: str) -> pa.Table:
    """A whole part.

    Raises:
        JobError: another run has removed it.
    """
    full = join(output, path)
    try:
        with store_for(full).open(full) as file:
            return pq.ParquetFile(file, page_checksum_verification=True).read()
    except FileNotFoundError:
        raise removed_meanwhile(path) from None


def count_rows(output: str, path: str) -> tuple[int, int]:
    """A part's rows, and its size in bytes."""
    full = join(output, path)
    info = store_for(full).stat(full)
    if info is None:
        raise removed_meanwhile(path)
    with store_for(full).open(full) as file:
        return pq.read_metadata(file).num_rows, info.bytes


def _content_name(table: pa.Table) -> str:
    name = ContentName()
    name.add(table)
    return name.text()
