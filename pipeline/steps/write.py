"""Rows to part files, as Beam transforms: WriteParts, WriteChanges, RewriteParts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.dataset.changes import HAS, Change, kind_of
from pipeline.dataset.parts import MAX_ROWS, PartBuffer, PartWriter
from pipeline.records import (
    EMBEDDINGS,
    FAILURES,
    Part,
    Rewrite,
)
from pipeline.runs.batches import Batches, unpack
from pipeline.runs.job import Job
from pipeline.runs.progress import EMBEDDED, FAILED, Tally
from pipeline.steps.embed import LIST_IMAGES, together
from pipeline.steps.outputs import METRICS, at_end, log_of, seen_batches


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


def _write_changes(log: tuple[int, Iterable[bytes]], writer: PartWriter) -> Iterator[Part]:
    seen: dict[str, list[str]] = {}
    for batch in log[1]:
        for uri, what in unpack(batch):
            seen.setdefault(uri, []).append(what)
    kinds = {uri: kind_of(whats) for uri, whats in sorted(seen.items())}
    changes = [Change(uri, kind) for uri, kind in kinds.items() if kind]
    if changes:
        yield writer.write_changes(changes)
