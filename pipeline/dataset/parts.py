"""Part files: collect rows, write them as a part, read its key columns, write it again."""

from __future__ import annotations

import dataclasses
import io
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encoder.printable import cut
from encoder.spec import EncoderSpec
from pipeline.dataset.changes import LOG, Change
from pipeline.dataset.known_vectors import digests_of
from pipeline.dataset.layout import part_path, staged
from pipeline.dataset.manifest import removed_meanwhile, unreadable
from pipeline.dataset.part_files import (
    UNREADABLE,
    ContentName,
    PartStream,
    checksum,
    opened,
    parquet_options,
    put_part,
    read_batches,
)
from pipeline.dataset.schema import NO_COLUMNS, TRUNCATED, schema_of
from pipeline.dataset.values import MisfitError, fitted, to_arrow, to_plain
from pipeline.errors import JobError
from pipeline.records import (
    CHANGES,
    EMBEDDINGS,
    FAILURES,
    Carried,
    Embedded,
    Failure,
    Kind,
    KnownTuple,
    Load,
    Part,
    Touched,
)

# A part is written after this many rows, seconds or bytes. So a killed run loses no more than that
# per worker, besides the images that it was working on.
MAX_ROWS = 1024
MAX_SECONDS = 60.0
MAX_BYTES = 64 << 20

_Row = TypeVar("_Row", Embedded, Failure)


@dataclasses.dataclass(frozen=True)
class PartWriter:
    """Writes parts of one run.

    Attributes:
        output: the dataset's folder.
        run_id: the run's id.
        spec: the encoder's spec.
        extra_columns: further columns of embeddings: carried ones, and truncated.
    """

    output: str
    run_id: str
    spec: EncoderSpec
    extra_columns: pa.Schema = NO_COLUMNS

    def of_run(self, run_id: str) -> PartWriter:
        """The same for parts of another run."""
        return dataclasses.replace(self, run_id=run_id)

    @property
    def carried_names(self) -> tuple[str, ...]:
        """Names of the carried columns, in the order of Embedded.carried."""
        return tuple(name for name in self.extra_columns.names if name != TRUNCATED.name)

    def write(self, kind: Kind, table: pa.Table, loads: Sequence[Load] = ()) -> Part:
        """Write a table as one part. It appears whole or not at all, in the staging folder.

        The part's name is a digest of its content, so a retry of the same work finds the file of
        the earlier attempt: it neither adds the rows a second time nor replaces other rows.
        """
        path = part_path(kind, self.spec.id, self.run_id, _content_name(table))
        if kind != CHANGES:  # a log of changes counts only once its run has committed
            path = staged(path)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, **parquet_options(kind))
        data = put_part(self.output, path, buffer.getvalue())
        return Part(kind, path, table.num_rows, len(data), tuple(loads), crc32c=checksum(data))

    def write_embeddings(self, rows: Sequence[Embedded]) -> Part:
        """Write embedded images as one part."""
        vectors = np.stack([row.embedding for row in rows]).astype(np.float32, copy=False)
        columns: dict[str, Sequence[object]] = {
            "uri": [row.uri for row in rows],
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
            "bytes": [row.bytes for row in rows],
            "version": [row.version for row in rows],
            "sha256": [row.sha256 for row in rows],
            TRUNCATED.name: [row.truncated for row in rows],
        }
        for place, name in enumerate(self.carried_names):
            columns[name] = [None if row.carried is None else row.carried[place] for row in rows]
        schema = schema_of(EMBEDDINGS, self.spec, self.extra_columns)
        arrays = [
            pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), self.spec.dim)
            if field.name == "embedding"
            else to_arrow(columns[field.name], field.type)
            for field in schema
        ]
        loads = sorted({row.load for row in rows if row.load})
        part = self.write(EMBEDDINGS, pa.Table.from_arrays(arrays, schema=schema), loads)
        return part._replace(copied=sum(not row.load for row in rows))

    def write_failures(self, rows: Sequence[Failure]) -> Part:
        """Write failed images as one part."""
        schema = schema_of(FAILURES, self.spec)
        columns = [{**row._asdict(), "message": cut(row.message)} for row in rows]
        part = self.write(FAILURES, pa.Table.from_pylist(columns, schema=schema))
        counts: Counter[tuple[str, str]] = Counter((row.stage, row.error) for row in rows)
        return part._replace(reasons=_reasons(counts))

    def write_changes(self, changes: Sequence[Change]) -> Part:
        """Write changes as one file of the run's log of changes."""
        return self.write(CHANGES, pa.Table.from_pylist([c._asdict() for c in changes], LOG))

    def rewrite(
        self,
        kind: Kind,
        path: str,
        stale: Container[str],
        touched: Mapping[str, Touched],
        waiting: bool = False,
    ) -> Part | None:
        """Write a part again, without stale rows and with the new values of touched ones.

        The old file stays; the commit removes it.

        Args:
            kind: the part's kind.
            path: the part's path, relative to the output.
            stale: uris whose rows are left out.
            touched: uri -> new version and carried values; these rows stay, even if also stale.
            waiting: whether the part is of a run that did not commit.

        Returns:
            The new part; None if no row is left.

        Raises:
            JobError: another run has removed the part, or a committed value does not fit into the
                type of its column.
        """
        table = self.conform(kind, read_part(self.output, path), waiting)
        uris = table.column("uri").to_pylist()
        if touched:
            rows = [touched.get(uri) for uri in uris]
            versions = [
                old if row is None else row.version
                for old, row in zip(to_plain(table.column("version")), rows, strict=True)
            ]
            table = _with_values(table, "version", versions)
            for place, name in enumerate(self.carried_names):
                values = [
                    old if row is None or row.carried is None else row.carried[place]
                    for old, row in zip(to_plain(table.column(name)), rows, strict=True)
                ]
                table = _with_values(table, name, values)
        keep = pa.array([uri in touched or uri not in stale for uri in uris], pa.bool_())
        table = table.filter(keep)
        return self.write(kind, table) if table.num_rows else None

    def merge(self, group: Sequence[Part]) -> Part:
        """Write the rows of several parts of one kind as one part. The old files stay.

        Raises:
            JobError: a part is damaged, or has other rows or columns than it should have.
        """
        kind = group[0].kind
        extra_columns = self.extra_columns if kind == EMBEDDINGS else NO_COLUMNS
        schema = schema_of(kind, self.spec, extra_columns)
        stream = PartStream(kind, schema)
        for part in group:
            rows = 0
            try:
                for table in read_batches(self.output, part.path):
                    if table.schema.remove_metadata() != schema.remove_metadata():
                        raise _wrong(part, "has other columns than the other parts")
                    stream.add(table.replace_schema_metadata(schema.metadata))
                    rows += len(table)
            except UNREADABLE as error:
                raise unreadable(part.path, error) from error
            if rows != part.rows:
                raise _wrong(part, f"has {rows:,} rows, not {part.rows:,} as it should have")
        merged = stream.write(self.output, self.spec.id, self.run_id)
        if merged is None:
            raise _wrong(group[0], "has no rows")
        loads = {load for part in group for load in part.loads}
        counts: Counter[tuple[str, str]] = Counter()
        for part in group:
            counts.update({(stage, error): count for stage, error, count in part.reasons})
        return merged._replace(
            loads=tuple(sorted(loads)),
            copied=sum(part.copied for part in group),
            reasons=_reasons(counts),
        )

    def conform(self, kind: Kind, table: pa.Table, waiting: bool = False) -> pa.Table:
        """The table with the columns of this run's parts.

        Missing columns become null, and truncated false. All live parts have the same columns, so
        that readers can open them with a glob. Committed values are never changed: a column gets
        another type only if each of its values can be had back from it.

        Args:
            kind: of the table's part.
            table: its rows.
            waiting: whether the part is of a run that did not commit. Its values that do not fit
                become null; the run that takes its rows lists the images, and their values.

        Raises:
            JobError: a committed value does not fit into the type of its column.
        """
        schema = schema_of(kind, self.spec, self.extra_columns)
        arrays = [
            _fitted(table, field, waiting)
            if field.name in table.schema.names
            else pa.array([False if field == TRUNCATED else None] * len(table), field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(arrays, schema=schema)


class PartBuffer(Generic[_Row]):
    """Collects rows, and reports when there are enough for a part.

    Args:
        enough: number of rows for a part.
        clock: monotonic, in seconds.
    """

    def __init__(self, enough: int = MAX_ROWS, clock: Callable[[], float] = time.monotonic) -> None:
        self._enough = enough
        self._clock = clock
        self._rows: list[_Row] = []
        self._bytes = 0
        self._since = 0.0

    def add(self, row: _Row, size: int) -> bool:
        """Add a row with its approximate size. Returns whether it is time to write a part."""
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
        """Return all rows, sorted by uri, and empty the buffer."""
        rows, self._rows, self._bytes = self._rows, [], 0
        return sorted(rows, key=_uri)


def _reasons(counts: Counter[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    return tuple(sorted((*reason, count) for reason, count in counts.items()))


def _uri(row: Embedded | Failure) -> str:
    return row.uri


class Keys(NamedTuple):
    """What planning needs to know about a part.

    Attributes:
        rows: its key columns.
        outdated: whether its columns differ from those of this run's parts.
        digests: of the contents of its images, see digests_of; None for failures.
    """

    rows: list[KnownTuple]
    outdated: bool
    digests: bytes | None = None


def read_known(part: Part, committed: bool, writer: PartWriter) -> Keys:
    """Read a part's key columns, without the vectors.

    Args:
        part: in the writer's output.
        committed: whether the manifest names it.
        writer: writes this run's parts.

    Raises:
        OSError, pyarrow.ArrowException: the part can't be read.
    """
    with opened(writer.output, part.path) as file:
        schema = file.schema_arrow.remove_metadata()
        _check_columns(schema, schema_of(part.kind, writer.spec))
        expected = schema_of(part.kind, writer.spec, writer.extra_columns).remove_metadata()
        carries = part.kind == EMBEDDINGS and all(
            name in schema.names for name in writer.carried_names
        )
        carried = writer.carried_names if carries else ()
        extra = "sha256" if part.kind == EMBEDDINGS else "stage"
        more = [TRUNCATED.name] if TRUNCATED.name in schema.names else []
        table = file.read(columns=["uri", "version", extra, *carried, *more])
    keys = (table.column(name).to_pylist() for name in ("uri", "version", extra))
    values: Iterable[Carried | None] = [None] * len(table)
    fields = [expected.field(name) for name in carried]
    if carried and (committed or _all_fit(table, fields)):
        columns = (_fitted(table, field, not committed) for field in fields)
        values = zip(*map(to_plain, columns), strict=True)
    rows: list[KnownTuple] = []
    for uri, version, value, of_row in zip(*keys, values, strict=True):
        sha256, stage = (value, None) if part.kind == EMBEDDINGS else (None, value)
        rows.append((uri, part.path, version, sha256, stage, committed, of_row))
    if part.kind != EMBEDDINGS:
        return Keys(rows, schema != expected)
    # Vectors of truncated images are not reused: later versions may decode more of such an image.
    truncated = table.column(more[0]).to_pylist() if more else [False] * len(rows)
    hashes = (None if cut else row[3] for row, cut in zip(rows, truncated, strict=True))
    return Keys(rows, schema != expected, digests_of(hashes))


def _check_columns(schema: pa.Schema, expected: pa.Schema) -> None:
    """Raise ArrowInvalid unless the columns that all parts have are there, in their types."""
    for field in expected:
        found = schema.field(field.name).type if field.name in schema.names else "missing"
        if found != field.type:
            raise pa.ArrowInvalid(f"its column {field.name} is {found}, expected {field.type}")


def _fitted(table: pa.Table, field: pa.Field, waiting: bool) -> pa.ChunkedArray:
    """A column with the type of a field; see PartWriter.conform."""
    try:
        return fitted(table.column(field.name), field.type)
    except MisfitError as error:
        if waiting:
            return pa.nulls(len(table), field.type)
        uri = table.column("uri")[error.row].as_py()
        raise JobError(
            f"--column-type {field.name}={field.type}: the dataset has {error.value!r} in this "
            f"column for {uri}, which does not fit; nothing was changed. Leave the option out, or "
            f"take {field.name}=string, into which every value fits"
        ) from error


def _all_fit(table: pa.Table, fields: Iterable[pa.Field]) -> bool:
    try:
        for field in fields:
            fitted(table.column(field.name), field.type)
    except MisfitError:
        return False
    return True


def read_part(output: str, path: str) -> pa.Table:
    """All rows of a part.

    Raises:
        JobError: another run has removed it.
    """
    try:
        with opened(output, path) as file:
            return file.read()
    except FileNotFoundError:
        raise removed_meanwhile(path) from None


def _wrong(part: Part, what: str) -> JobError:
    return JobError(f"{part.path} {what}; see 'python -m pipeline verify OUTPUT'. Nothing changed")


def _with_values(table: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    """The table with other values in one column."""
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, to_arrow(values, field.type))


def _content_name(table: pa.Table) -> str:
    name = ContentName()
    name.add(table)
    return name.text()
