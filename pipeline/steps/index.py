"""What the output holds, as a Beam transform: ReadIndex."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from encoder.storage.registry import is_remote
from pipeline.dataset.manifest import unreadable
from pipeline.dataset.named_uris import read_uris
from pipeline.dataset.parts import Keys, read_known
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.uris import path_of
from pipeline.records import (
    EMBEDDINGS,
    ListState,
    Part,
    Rewrite,
)
from pipeline.runs.batches import (
    Batches,
    NamedBatch,
    pack,
    partition_of,
)
from pipeline.runs.job import Job
from pipeline.runs.snapshot import take_snapshot
from pipeline.steps.outputs import at_end

_PARTS_AHEAD = 15


@dataclasses.dataclass
class ReadIndex(beam.PTransform):  # type: ignore[misc]
    """Read what the output holds: PBegin -> rows (bucket, KnownTuples), named (bucket, NamedBatch)
    and archives (str, list) by lists, snapshot Snapshot, damaged Rewrite, outdated (part, uri),
    contents Contents.

    A damaged part of a run that died is given up: its images are embedded again. A part whose
    columns are not those of this run will be written again, which its one entry without a uri asks.
    """

    job: Job

    def expand(self, begin: Any) -> Any:
        found = (
            begin
            | "Output" >> beam.Create([self.job])
            | "Snapshot" >> beam.ParDo(_Snapshot()).with_outputs("snapshot", "lists", main="parts")
        )
        keys = (
            found.parts
            | "Spread" >> beam.Reshuffle()
            | "ReadKeys"
            >> beam.ParDo(_ReadKeys(self.job)).with_outputs(
                "damaged", "outdated", "contents", main="rows"
            )
        )
        named = found.lists | "ReadNamed" >> beam.ParDo(_ReadNamed(self.job)).with_outputs(
            "archives", main="named"
        )
        return {
            "rows": keys.rows,
            "damaged": keys.damaged,
            "outdated": keys.outdated,
            "contents": keys.contents,
            "snapshot": found.snapshot,
            "named": named.named,
            "named_archives": named.archives,
        }


class _Snapshot(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Job) -> Iterator[Any]:
        snapshot = take_snapshot(element)
        for state in (*snapshot.lists, *snapshot.unfinished):
            if any(source.takes_as_list(path_of(state.list_uri)) for source in element.inputs):
                yield TaggedOutput("lists", state)
        for part in snapshot.live:
            yield part, True
        for path in snapshot.resumable:
            yield Part(EMBEDDINGS, path, 0, 0), False
        yield TaggedOutput("snapshot", snapshot)


class _ReadKeys(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._writer = job.writer
        # In a bucket each takes a request or a few; on disk one after the other is as fast.
        self._ahead = _PARTS_AHEAD if is_remote(job.output) else 0

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(self._ahead + 1, thread_name_prefix="read-keys")

    def start_bundle(self) -> None:
        self._batches = Batches()
        self._reading: deque[tuple[Part, bool, Future[Keys]]] = deque()

    def process(self, element: tuple[Part, bool]) -> Iterator[Any]:
        part, committed = element
        future = self._pool.submit(read_known, part, committed, self._writer)
        self._reading.append((part, committed, future))
        if len(self._reading) > self._ahead:
            yield from self._read()

    def finish_bundle(self) -> Iterator[Any]:
        while self._reading:
            yield from map(at_end, self._read())
        for partition, rows in self._batches.rest():
            yield at_end((partition, pack(rows)))

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _read(self) -> Iterator[Any]:
        """What the part says that has been in reading for longest."""
        part, committed, future = self._reading.popleft()
        try:
            keys = future.result()
            for row in keys.rows:
                for partition, rows in self._batches.add(partition_of(row[0]), row):
                    yield partition, pack(rows)
            if keys.contents is not None:
                yield TaggedOutput("contents", keys.contents)
            if keys.outdated:
                yield TaggedOutput("outdated", (part.path, ""))
        except TimeoutError:  # which says nothing of the part
            raise
        except (OSError, pa.ArrowException) as error:
            if committed:
                raise unreadable(part.path, error) from error
            yield TaggedOutput("damaged", Rewrite(part.path, None, Counter()))


class _ReadNamed(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, element: ListState) -> Iterator[Any]:
        batches = Batches()
        for uri in read_uris(self._job.output, element):
            if archive_kind(uri):
                yield TaggedOutput("archives", (uri, element.list_uri))
            for partition, uris in batches.add(partition_of(uri), uri):
                yield partition, pack(NamedBatch(element.list_uri, uris))
        for partition, uris in batches.rest():
            yield partition, pack(NamedBatch(element.list_uri, uris))
