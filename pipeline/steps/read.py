"""The steps that do the work, as Beam transforms: from ReadImages to Commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, TaggedOutput

from pipeline.dataset.changes import SAME
from pipeline.dataset.known_vectors import Contents, VectorIndex
from pipeline.embedding.decode import Reading
from pipeline.embedding.read_ahead import ReadAhead
from pipeline.records import (
    Decoded,
    Embedded,
    Failure,
    Todo,
    Touched,
)
from pipeline.runs.batches import pack
from pipeline.runs.job import Job
from pipeline.runs.progress import EMBEDDED, Tally
from pipeline.steps.embed import together
from pipeline.steps.outputs import at_end, log_of

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
            self._ahead.index = VectorIndex(self._job.output, contents)
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


def _todos(segment: str, todos: Iterable[Todo]) -> list[Todo]:
    """All that is wanted of a segment, in the order of its stream."""
    return sorted(todos, key=_place)


def _place(todo: Todo) -> int:
    return todo.image.place
