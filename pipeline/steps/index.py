"""ReadIndex: the rows and files that the output has already."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings
from encoder.storage.registry import is_remote
from pipeline.dataset.known_vectors import Buckets, Contents, ContentsBuffer
from pipeline.dataset.manifest import unreadable
from pipeline.dataset.named_uris import read_uris
from pipeline.dataset.parts import Keys, PartWriter, read_known
from pipeline.inputs.file_kinds import archive_kind
from pipeline.records import (
    KnownInput,
    KnownTuple,
    ListState,
    Part,
    Rewrite,
)
from pipeline.runs.batches import Batches, KnownBatch, NamedBatch, pack, partition_of
from pipeline.runs.snapshot import Snapshot, take_snapshot
from pipeline.steps.list_images import Packed
from pipeline.steps.outputs import StorageDoFn, all_at_end, at_end

_PARTS_AHEAD = 15


class Index(NamedTuple):
    """The rows and files of the output.

    Attributes:
        rows: (partition, packed KnownBatch).
        named: (partition, packed NamedBatch): the uris that lists named in earlier runs.
        named_archives: (uri of an archive, uri of the list that named it).
        inputs: one element, the inputs of earlier runs, besides lists.
        snapshot: one element, the output at the start of the run.
        contents: (bucket, contents of some rows with a vector).
        filter: (number, segment of the filter) for all these contents.
        outdated: (part, None) for parts whose columns differ from those of this run.
        waiting: the readable waiting parts, with their numbers of rows.
        damaged: unreadable waiting parts, whose images are embedded again.
    """

    rows: PCollection[Packed]
    named: PCollection[Packed]
    named_archives: PCollection[tuple[str, str]]
    inputs: PCollection[tuple[KnownInput, ...]]
    snapshot: PCollection[Snapshot]
    contents: PCollection[tuple[int, Contents]]
    filter: PCollection[tuple[int, bytes]]
    outdated: PCollection[tuple[str, None]]
    waiting: PCollection[Part]
    damaged: PCollection[Rewrite]


@dataclasses.dataclass
class ReadIndex(beam.PTransform):  # type: ignore[misc]
    """Read the rows and files of the output: PBegin -> Index.

    Attributes:
        writer: writes this run's parts; it has the output, the encoder and the columns.
        buckets: how the contents of the output are spread.
        storage: request settings for buckets.
    """

    writer: PartWriter
    buckets: Buckets
    storage: StorageSettings

    def expand(self, begin: PBegin) -> Index:
        found = (
            begin
            | "Output" >> beam.Create([None])
            | "Snapshot"
            >> beam.ParDo(_Snapshot(self.writer, self.storage)).with_outputs(
                "snapshot", "lists", "inputs", main="parts"
            )
        )
        keys = (
            found.parts
            | "Spread" >> beam.Reshuffle()
            | "ReadKeys"
            >> beam.ParDo(_ReadKeys(self.writer, self.buckets, self.storage)).with_outputs(
                *("damaged", "outdated", "contents", "bits", "waiting"), main="rows"
            )
        )
        segments = (
            keys.bits
            | "BySegment" >> beam.GroupByKey()
            | "Segment" >> beam.MapTuple(lambda number, bits: (number, self.buckets.segment(bits)))
        )
        named = found.lists | "ReadNamed" >> beam.ParDo(
            _ReadNamed(self.writer.output, self.storage)
        ).with_outputs("archives", main="named")
        return Index(
            rows=keys.rows,
            named=named.named,
            named_archives=named.archives,
            inputs=found.inputs,
            snapshot=found.snapshot,
            contents=keys.contents,
            filter=segments,
            outdated=keys.outdated,
            waiting=keys.waiting,
            damaged=keys.damaged,
        )


class _Snapshot(StorageDoFn):
    def __init__(self, writer: PartWriter, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._writer = writer

    def process(self, element: None) -> Iterator[tuple[Part, bool] | TaggedOutput]:
        snapshot = take_snapshot(self._writer.output, self._writer.spec)
        for state in snapshot.lists:
            yield TaggedOutput("lists", state)
        for part in snapshot.live:
            yield part, True
        for part in snapshot.waiting:
            yield part, False
        yield TaggedOutput("inputs", snapshot.inputs)
        yield TaggedOutput("snapshot", snapshot)


class _ReadKeys(StorageDoFn):
    def __init__(self, writer: PartWriter, buckets: Buckets, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._writer = writer
        self._buckets = buckets
        # In a bucket, each part needs requests. On disk, reading one by one is as fast.
        self._ahead = _PARTS_AHEAD if is_remote(writer.output) else 0

    def setup(self) -> None:
        super().setup()
        self._pool = ThreadPoolExecutor(self._ahead + 1, thread_name_prefix="read-keys")

    def start_bundle(self) -> None:
        self._batches: Batches[int, KnownTuple] = Batches()
        self._contents = ContentsBuffer()
        self._reading: deque[tuple[Part, bool, Future[Keys]]] = deque()

    def process(self, element: tuple[Part, bool]) -> Iterator[Packed | TaggedOutput]:
        part, committed = element
        future = self._pool.submit(read_known, part, committed, self._writer)
        self._reading.append((part, committed, future))
        if len(self._reading) > self._ahead:
            yield from self._read_first()

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        while self._reading:
            yield from all_at_end(self._read_first())
        for partition, rows in self._batches.rest():
            yield at_end((partition, pack(KnownBatch(rows))))
        yield from all_at_end(self._spread(self._contents.rest()))

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _read_first(self) -> Iterator[Packed | TaggedOutput]:
        """The keys of the part that has been read for the longest time."""
        part, committed, future = self._reading.popleft()
        try:
            keys = future.result()
            for row in keys.rows:
                partition = partition_of(row[0])
                if rows := self._batches.add(partition, row):
                    yield partition, pack(KnownBatch(rows))
            if keys.digests is not None:
                yield from self._spread(self._contents.add(part.path, keys.digests))
            if not committed:
                yield TaggedOutput("waiting", part._replace(rows=len(keys.rows)))
            if keys.outdated:
                yield TaggedOutput("outdated", (part.path, None))
        except TimeoutError:  # the store failed, not the part
            raise
        except (OSError, pa.ArrowException) as error:
            if committed:
                raise unreadable(part.path, error) from error
            yield TaggedOutput("damaged", Rewrite(part.path, None, Counter()))

    def _spread(self, contents: Contents | None) -> Iterator[TaggedOutput]:
        if contents is not None:
            for each in self._buckets.spread(contents):
                yield TaggedOutput("contents", each)
            for bits in self._buckets.bits_of(contents):
                yield TaggedOutput("bits", bits)


class _ReadNamed(StorageDoFn):
    def __init__(self, output: str, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._output = output

    def process(self, element: ListState) -> Iterator[Packed | TaggedOutput]:
        batches: Batches[int, str] = Batches()
        for uri in read_uris(self._output, element):
            if archive_kind(uri):
                yield TaggedOutput("archives", (uri, element.list_uri))
            partition = partition_of(uri)
            if uris := batches.add(partition, uri):
                yield partition, pack(NamedBatch(element.list_uri, uris))
        for partition, uris in batches.rest():
            yield partition, pack(NamedBatch(element.list_uri, uris))
