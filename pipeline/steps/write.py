"""The boxes that write files: WriteEmbeddings, WriteFailures, WriteChanges, RewriteParts."""

from __future__ import annotations

import abc
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypedDict, TypeVar

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings, configure
from pipeline.dataset.changes import HAS, Change, Seen, kind_of
from pipeline.dataset.layout import final
from pipeline.dataset.parts import MAX_ROWS, PartBuffer, PartWriter
from pipeline.embedding.call_sizes import CallSettings
from pipeline.logs import name_run, run_logger
from pipeline.measures import Collector, Work
from pipeline.records import (
    EMBEDDINGS,
    FAILURES,
    Embedded,
    Failure,
    Kind,
    Part,
    Rewrite,
    Share,
    Staged,
    Touched,
)
from pipeline.runs.batches import SeenBatch, partition_of, share_of
from pipeline.runs.job import RunIdentity
from pipeline.runs.progress import EMBEDDED, FAILED, Tally
from pipeline.runs.shares import in_shares
from pipeline.steps.embed import LIST_IMAGES
from pipeline.steps.meter import MEASURED, Meter
from pipeline.steps.outputs import METRICS, Packed, SeenLog, StorageDoFn, all_at_end

_Row = TypeVar("_Row", Embedded, Failure)
_LOG = run_logger(__name__)


class WrittenEmbeddings(NamedTuple):
    """The results of WriteEmbeddings.

    Attributes:
        parts: finished parts.
        seen: (log, packed SeenBatch) for the log of changes.
        measures: of writing.
    """

    parts: PCollection[Part]
    seen: PCollection[Packed]
    measures: PCollection[Work]


class ToRewrite(NamedTuple):
    """The inputs of RewriteParts.

    Attributes:
        stale: (part, uri) of committed rows to remove; (part, None) if only columns differ.
        found: (part, uri) of committed rows to remove, since their images' content is another,
            although the version is the same.
        touched: (part, Touched) of rows that get another version or other carried values.
        staged: (part, Staged): what the run takes of waiting parts.
        waiting: (part, Part) for the waiting parts.
    """

    stale: PCollection[tuple[str, str | None]]
    found: PCollection[tuple[str, str]]
    touched: PCollection[tuple[str, Touched]]
    staged: PCollection[tuple[str, Staged]]
    waiting: PCollection[tuple[str, Part]]


class Rewritten(NamedTuple):
    """The results of RewriteParts.

    Attributes:
        rewrites: parts that were written again, or are not needed any more.
        taken: waiting parts that become live as they are.
    """

    rewrites: PCollection[Rewrite]
    taken: PCollection[Part]


@dataclasses.dataclass
class WriteEmbeddings(beam.PTransform):  # type: ignore[misc]
    """Write rows to part files as they come: Embedded -> WrittenEmbeddings.

    Every part is a complete file. Parts are written after dataset.parts.MAX_ROWS rows or
    MAX_SECONDS, so that a killed job loses little work.

    Attributes:
        writer: writes parts.
        identity: one element, of the run whose parts they are.
        calls: how many images the encoder gets at once.
        tally_folder: the folder that counts finished images; None for no counting.
        storage: request settings for buckets.
    """

    writer: PartWriter
    identity: PCollection[RunIdentity]
    calls: CallSettings
    tally_folder: str | None
    storage: StorageSettings

    def expand(self, rows: PCollection[Embedded]) -> WrittenEmbeddings:
        write = _WriteEmbeddings(self.writer, self.calls, self.tally_folder, self.storage)
        written = rows | "Write" >> beam.ParDo(write, AsSingleton(self.identity)).with_outputs(
            "seen", MEASURED, main="parts"
        )
        return WrittenEmbeddings(written.parts, written.seen, written[MEASURED])


@dataclasses.dataclass
class WriteFailures(beam.PTransform):  # type: ignore[misc]
    """Write failures to part files as they come: Failure -> Part. See WriteEmbeddings."""

    writer: PartWriter
    identity: PCollection[RunIdentity]
    calls: CallSettings
    tally_folder: str | None
    storage: StorageSettings

    def expand(self, rows: PCollection[Failure]) -> PCollection[Part]:
        write = _WriteFailures(self.writer, self.calls, self.tally_folder, self.storage)
        return rows | "Write" >> beam.ParDo(write, AsSingleton(self.identity))


@dataclasses.dataclass
class WriteChanges(beam.PTransform):  # type: ignore[misc]
    """Write the log of what the run changed: (log, packed SeenBatch) -> Part.

    Attributes:
        writer: writes parts.
        identity: one element, of the run whose parts they are.
        storage: request settings for buckets.
    """

    writer: PartWriter
    identity: PCollection[RunIdentity]
    storage: StorageSettings

    def expand(self, seen: PCollection[Packed]) -> PCollection[Part]:
        return (
            seen
            | "ByLog" >> beam.GroupByKey()
            | "Log"
            >> beam.FlatMap(_write_changes, self.writer, self.storage, AsSingleton(self.identity))
        )


@dataclasses.dataclass
class RewriteParts(beam.PTransform):  # type: ignore[misc]
    """Write old parts again, with the rows that the run keeps or takes: ToRewrite -> Rewritten.

    A live part that is kept whole, and as it is, gives nothing.

    Attributes:
        writer: writes parts.
        identity: one element, of the run whose parts they are.
        storage: request settings for buckets.
    """

    writer: PartWriter
    identity: PCollection[RunIdentity]
    storage: StorageSettings

    def expand(self, rows: ToRewrite) -> Rewritten:
        rewrite = _Rewrite(self.writer, self.storage)
        found = (
            rows._asdict()
            | "ByPart" >> beam.CoGroupByKey()
            | "Rewrite"
            >> beam.ParDo(rewrite, AsSingleton(self.identity)).with_outputs(
                "taken", main="rewrites"
            )
        )
        return Rewritten(found.rewrites, found.taken)


class _Write(StorageDoFn, abc.ABC, Generic[_Row]):
    """Collects rows until they are enough for a part."""

    kind: Kind

    def __init__(
        self,
        writer: PartWriter,
        calls: CallSettings,
        tally_folder: str | None,
        storage: StorageSettings,
    ) -> None:
        super().__init__(storage)
        self._writer = writer
        self._calls = calls
        self._tally = Tally(tally_folder)
        self._count = Metrics.counter(METRICS, f"{self.kind}_rows")

    def setup(self) -> None:
        super().setup()
        name_run(self._writer.run_id)
        # The first part is written after one list of images, so that users soon see a result.
        first = self._calls.images_together()
        self._enough = min(first, MAX_ROWS)
        # Images that the encoder got together with the last row of a part would be lost, too.
        self._usual = max(MAX_ROWS - max(first, LIST_IMAGES), MAX_ROWS // 2)

    def start_bundle(self) -> None:
        self._buffer: PartBuffer[_Row] = PartBuffer(self._enough)

    def process(self, element: _Row, identity: RunIdentity) -> Iterator[Part | TaggedOutput]:
        if not self._buffer:  # finish_bundle gets no side input
            self._writer = self._writer.of_run(identity.run_id)
        if self.add(element):
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        if self._buffer:
            yield from all_at_end(self._flush())

    @abc.abstractmethod
    def add(self, row: _Row) -> bool:
        """Count a row and add it to the buffer. Returns whether the buffer is full."""

    @abc.abstractmethod
    def write(self, rows: list[_Row]) -> Iterator[Part | TaggedOutput]:
        """Write rows as one part."""

    def _flush(self) -> Iterator[Part | TaggedOutput]:
        rows = self._buffer.take()
        self._enough = self._usual
        self._buffer = PartBuffer(self._enough)
        self._count.inc(len(rows))
        yield from self.write(rows)


class _WriteEmbeddings(_Write[Embedded]):
    kind = EMBEDDINGS

    def setup(self) -> None:
        super().setup()
        self._meter = Meter()

    def start_bundle(self) -> None:
        super().start_bundle()
        self._meter.start()

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        yield from super().finish_bundle()
        yield from all_at_end(self._meter.end())

    def add(self, row: Embedded) -> bool:
        self._tally.add(EMBEDDED, 1)
        return self._buffer.add(row, row.embedding.nbytes)

    def write(self, rows: list[Embedded]) -> Iterator[Part | TaggedOutput]:
        times = Collector()
        with times.timed("write_ms"):
            part = self._writer.write_embeddings(rows)
        self._meter.take(times)
        self._meter.add("write_bytes", part.bytes)
        _LOG.info("wrote %d embeddings to %s", part.rows, part.path)
        yield part
        seen = SeenLog()
        for row in rows:
            yield from seen.add(row.uri, HAS)
        yield from seen.rest()


class _WriteFailures(_Write[Failure]):
    kind = FAILURES

    def add(self, row: Failure) -> bool:
        self._tally.add(FAILED, 1)
        Metrics.counter(METRICS, f"failed_{row.stage}_{row.error}").inc()
        return self._buffer.add(row, 0)

    def write(self, rows: list[Failure]) -> Iterator[Part]:
        part = self._writer.write_failures(rows)
        counts = ", ".join(f"{count} x {stage} {error}" for stage, error, count in part.reasons)
        _LOG.info("wrote %d failures (%s) to %s", part.rows, counts, part.path)
        yield part


class _OfPart(TypedDict):
    """All changes of one old part."""

    stale: Iterable[str | None]
    found: Iterable[str]
    touched: Iterable[Touched]
    staged: Iterable[Staged]
    waiting: Iterable[Part]


class _NotTaken:
    """The uris of a waiting part whose rows a run does not take."""

    def __init__(self, staged: Mapping[Share, Staged]) -> None:
        self._staged = staged
        self._shares = {share.partition: share.of for share in staged}

    def __contains__(self, uri: object) -> bool:
        shares = self._shares[partition_of(str(uri))]
        taken = self._staged[share_of(str(uri), shares)].taken
        return taken is not None and uri not in taken


class _Rewrite(StorageDoFn):
    def __init__(self, writer: PartWriter, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._writer = writer

    def process(
        self, element: tuple[str, _OfPart], identity: RunIdentity
    ) -> Iterator[Rewrite | TaggedOutput]:
        path, rows = element
        touched = {row.uri: row for row in rows["touched"]}
        staged = {each.share: each for each in rows["staged"]}
        listed = set(rows["stale"])
        has_other_columns = None in listed
        found = set(rows["found"])
        stale = {uri for uri in listed if uri is not None} | found
        kept = sum(each.kept for each in staged.values())
        counted = Counter(row.counted for row in touched.values() if row.counted)

        if staged and not touched:
            if not has_other_columns and all(each.taken is None for each in staged.values()):
                for part in rows["waiting"]:
                    yield TaggedOutput("taken", part)
                return
            if not any(each.taken is None or each.taken for each in staged.values()):
                yield Rewrite(path, None, counted, kept)
                return
        kind: Kind = FAILURES if final(path).startswith(FAILURES) else EMBEDDINGS
        left_out = _NotTaken(staged) if staged else stale
        writer = self._writer.of_run(identity.run_id)
        replacement = writer.rewrite(kind, path, left_out, touched, bool(staged))
        yield Rewrite(path, replacement, counted, kept, len(found))


def _write_changes(
    log: tuple[int, Iterable[bytes]],
    writer: PartWriter,
    storage: StorageSettings,
    identity: RunIdentity,
) -> Iterator[Part]:
    configure(storage)
    for _, batches in in_shares(*log):
        seen: dict[str, list[Seen]] = {}
        for batch in batches:
            if isinstance(batch, SeenBatch):
                for uri, what in batch.rows:
                    seen.setdefault(uri, []).append(what)
        kinds = {uri: kind_of(whats) for uri, whats in sorted(seen.items())}
        changes = [Change(uri, kind) for uri, kind in kinds.items() if kind]
        if changes:
            yield writer.of_run(identity.run_id).write_changes(changes)
