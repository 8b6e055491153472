"""The steps that do the work, as Beam transforms: from ReadImages to Commit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsSingleton, TaggedOutput

from pipeline.dataset.changes import HAS, SAME, Change, kind_of
from pipeline.dataset.known_vectors import ContentIndex, Contents
from pipeline.dataset.parts import MAX_ROWS, PartBuffer, PartWriter
from pipeline.embedding.decode import Reading
from pipeline.embedding.read_ahead import ReadAhead
from pipeline.records import (
    EMBEDDINGS,
    FAILURES,
    Decoded,
    Embedded,
    Failure,
    ListState,
    Part,
    Rewrite,
    Snapshot,
    Todo,
    Touched,
)
from pipeline.runs.accounting import Outcome
from pipeline.runs.batches import Batches, pack, unpack
from pipeline.runs.commit import commit
from pipeline.runs.job import Job
from pipeline.runs.progress import EMBEDDED, FAILED, Tally
from pipeline.steps.embed import LIST_IMAGES, together
from pipeline.steps.plan import METRICS, at_end, log_of, seen_batches

READ_AHEAD = 64  # images, or two lists where that is more; decoded while the encoder works


@dataclasses.dataclass
class ReadImages(beam.PTransform):  # type: ignore[misc]
    """Read and decode: {loose [Todo], packed (segment, Todo)} -> decoded Decoded, copied Embedded,
    touched (part, Touched), failures Failure.

    A segment of an archive is read as one stream. Of content that the output has a vector of,
    that vector is taken. After the Reshuffle no pixels are shuffled.
    """

    job: Job
    contents: Any

    def expand(self, todo: Any) -> Any:
        packed = (
            todo["packed"] | "BySegment" >> beam.GroupByKey() | "Todos" >> beam.MapTuple(_todos)
        )
        return (
            (todo["loose"], packed)
            | "Todo" >> beam.Flatten()
            | "Spread" >> beam.Reshuffle()
            | "ReadAndDecode"
            >> beam.ParDo(_Read(self.job), AsIter(self.contents)).with_outputs(
                "copied", "touched", "failures", "seen", main="decoded"
            )
        )


@dataclasses.dataclass
class WriteParts(beam.PTransform):  # type: ignore[misc]
    """Write rows to part files as they come: Embedded or Failure -> parts Part, seen (key, [uri,
    what]) for the log of changes.

    A part that was given out exists whole. Parts are flushed after dataset.parts.MAX_ROWS rows or
    MAX_SECONDS, so that work done stays done whatever happens to the job.
    """

    job: Job
    kind: str

    def expand(self, rows: Any) -> Any:
        return rows | "Write" >> beam.ParDo(_Write(self.job, self.kind)).with_outputs(
            "seen", main="parts"
        )


@dataclasses.dataclass
class WriteChanges(beam.PTransform):  # type: ignore[misc]
    """Write the log of what the run changed: (key, [uri, what]) -> Part."""

    job: Job

    def expand(self, seen: Any) -> Any:
        return (
            seen
            | "ByLog" >> beam.GroupByKey()
            | "Log" >> beam.FlatMap(_write_changes, self.job.writer)
        )


@dataclasses.dataclass
class RewriteParts(beam.PTransform):  # type: ignore[misc]
    """Take stale rows out of old parts: {stale, touched} keyed by part -> Rewrite."""

    job: Job

    def expand(self, stale_and_touched: Any) -> Any:
        return (
            stale_and_touched
            | "ByPart" >> beam.CoGroupByKey()
            | "Rewrite" >> beam.ParDo(_Rewrite(self.job))
        )


@dataclasses.dataclass
class Commit(beam.PTransform):  # type: ignore[misc]
    """Make it all live, once everything is written: Snapshot -> the run's id."""

    job: Job
    counts: Any
    written: Any
    rewritten: Any
    lists: Any
    changes: Any

    def expand(self, snapshot: Any) -> Any:
        return (
            snapshot.pipeline
            | "Once" >> beam.Create([self.job])
            | "Commit"
            >> beam.Map(
                _commit,
                snapshot=AsSingleton(snapshot),
                counts=AsIter(self.counts),
                written=AsIter(self.written),
                rewritten=AsIter(self.rewritten),
                lists=AsIter(self.lists),
                changes=AsIter(self.changes),
            )
        )


class _Read(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        job = self._job
        reading = Reading(job.spec, job.limits, job.max_bytes, job.packing, job.reads)
        self._ahead = ReadAhead(reading, max(READ_AHEAD, 2 * together(job)))
        self._tally = Tally(self._job.tally_folder)
        self._has_index = False

    def start_bundle(self) -> None:
        self._ahead.clear()

    def process(self, element: list[Todo], contents: Iterable[Contents]) -> Iterator[Any]:
        # Beam gives no side input before; it is whole then, and the same in every bundle.
        if not self._has_index:
            self._ahead.index = ContentIndex(self._job.output, contents)
            self._has_index = True
        if element[0].image.archive:
            outcomes = self._ahead.put_segment(element)
        else:
            outcomes = self._ahead.put(element[0])
        for outcome in outcomes:
            yield from self._routed(outcome)

    def finish_bundle(self) -> Iterator[Any]:
        for outcome in self._ahead.drain():
            yield from map(at_end, self._routed(outcome))

    def teardown(self) -> None:
        self._ahead.close()

    def _routed(self, outcome: Decoded | Embedded | Failure | Touched) -> Iterator[Any]:
        if isinstance(outcome, Decoded):
            yield outcome
        elif isinstance(outcome, Embedded):
            yield TaggedOutput("copied", outcome)
        elif isinstance(outcome, Touched):
            self._tally.add(EMBEDDED, 1)
            yield TaggedOutput("touched", (outcome.old_part, outcome))
            yield TaggedOutput("seen", (log_of(outcome.uri), pack([(outcome.uri, SAME)])))
        else:
            yield TaggedOutput("failures", outcome)


class _Write(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job, kind: str) -> None:
        self._job = job
        self._kind = kind
        self._count = Metrics.counter(METRICS, f"{kind}_rows")

    def setup(self) -> None:
        # The first part is written after a list: whoever watches sees early that all is well.
        first = together(self._job)
        self._enough = min(first, MAX_ROWS)
        # What the encoder was given with the last row of a part would be lost, too.
        self._usual = max(MAX_ROWS - max(first, LIST_IMAGES), MAX_ROWS // 2)

    def start_bundle(self) -> None:
        self._buffer = PartBuffer(self._enough)

    def process(self, element: Any) -> Iterator[Any]:
        embedding = self._kind == EMBEDDINGS
        Tally(self._job.tally_folder).add(EMBEDDED if embedding else FAILED, 1)
        if self._buffer.add(element, element.embedding.nbytes if embedding else 0):
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        if self._buffer:
            yield from map(at_end, self._flush())

    def _flush(self) -> Iterator[Any]:
        rows = self._buffer.take()
        self._enough = self._usual
        self._buffer = PartBuffer(self._enough)
        self._count.inc(len(rows))
        writer = self._job.writer
        if self._kind == FAILURES:
            yield writer.write_failures(rows)
            return
        yield writer.write_embeddings(rows)
        seen = Batches()
        for row in rows:
            yield from seen_batches(seen.add(log_of(row.uri), (row.uri, HAS)))
        yield from seen_batches(seen.rest())


class _Rewrite(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Rewrite]:
        path, rows = element
        touched = {row.uri: row for row in rows["touched"]}
        kind = FAILURES if path.startswith(FAILURES) else EMBEDDINGS
        replacement = self._job.writer.rewrite(kind, path, set(rows["stale"]), touched)
        yield Rewrite(path, replacement, Counter(row.counted for row in touched.values()))


def _commit(
    job: Job,
    snapshot: Snapshot,
    counts: Iterable[Counter[str]],
    written: Iterable[Part],
    rewritten: Iterable[Rewrite],
    lists: Iterable[ListState],
    changes: Iterable[Part],
) -> str:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    outcome = Outcome(snapshot, total, list(written), list(rewritten), list(lists), list(changes))
    return str(commit(job, outcome)["run_id"])


def _write_changes(log: tuple[int, Iterable[bytes]], writer: PartWriter) -> Iterator[Part]:
    seen: dict[str, list[str]] = {}
    for batch in log[1]:
        for uri, what in unpack(batch):
            seen.setdefault(uri, []).append(what)
    kinds = {uri: kind_of(whats) for uri, whats in sorted(seen.items())}
    changes = [Change(uri, kind) for uri, kind in kinds.items() if kind]
    if changes:
        yield writer.write_changes(changes)


def _todos(segment: str, todos: Iterable[Todo]) -> list[Todo]:
    """All that is wanted of a segment, in the order of its stream."""
    return sorted(todos, key=_place)


def _place(todo: Todo) -> int:
    return todo.image.place
