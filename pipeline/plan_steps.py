"""The steps that decide what to do, as Beam transforms: ListImages, ReadIndex, PlanRun."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.commit import listed_by, take_snapshot
from pipeline.errors import JobError
from pipeline.inputs import Input
from pipeline.job import Job
from pipeline.parts import read_known
from pipeline.planning import decide
from pipeline.progress import PLANNED, Tally
from pipeline.records import EMBEDDINGS, Part, Rewrite

METRICS = "embed_images"
PLAN_COUNTS = ("listed", "new", "changed", "unchanged", "resumed", "deleted")


@dataclasses.dataclass
class ListImages(beam.PTransform):  # type: ignore[misc]
    """List what the inputs name: PBegin -> images (str, Image), counts Counter.

    A listing that fails fails the job.
    """

    job: Job

    def expand(self, begin: Any) -> Any:
        return (
            begin
            | "Inputs" >> beam.Create(list(self.job.inputs))
            | "List" >> beam.ParDo(_List()).with_outputs("counts", main="images")
        )


@dataclasses.dataclass
class ReadIndex(beam.PTransform):  # type: ignore[misc]
    """Read what the output holds: PBegin -> rows (str, Known), snapshot Snapshot, damaged Rewrite.

    A damaged part of a run that died is given up: its images are embedded again.
    """

    job: Job

    def expand(self, begin: Any) -> Any:
        found = (
            begin
            | "Output" >> beam.Create([self.job])
            | "Snapshot" >> beam.ParDo(_Snapshot()).with_outputs("snapshot", main="parts")
        )
        keys = (
            found.parts
            | "Spread" >> beam.Reshuffle()
            | "ReadKeys"
            >> beam.ParDo(_ReadKeys(self.job.output)).with_outputs("damaged", main="rows")
        )
        return {"rows": keys.rows, "damaged": keys.damaged, "snapshot": found.snapshot}


@dataclasses.dataclass
class PlanRun(beam.PTransform):  # type: ignore[misc]
    """Decide about every image: {listed, known} -> todo Todo, stale (part, uri), counts Counter.

    An anti-join on the uri; see pipeline.planning for the rules.
    """

    job: Job

    def expand(self, listed_and_known: Any) -> Any:
        return (
            listed_and_known
            | "ByUri" >> beam.CoGroupByKey()
            | "Decide" >> beam.ParDo(_Decide(self.job)).with_outputs("stale", "counts", main="todo")
        )


class _List(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Input) -> Iterator[Any]:
        count = 0
        for image in element.list_images():
            count += 1
            yield image.uri, image
        yield TaggedOutput("counts", Counter({listed_by(element.text): count}))


class _Snapshot(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Job) -> Iterator[Any]:
        snapshot = take_snapshot(element)
        for part in snapshot.live:
            yield part, True
        for path in snapshot.left_over:
            yield Part(EMBEDDINGS, path, 0, 0), False
        yield TaggedOutput("snapshot", snapshot)


class _ReadKeys(beam.DoFn):  # type: ignore[misc]
    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, element: tuple[Part, bool]) -> Iterator[Any]:
        part, committed = element
        try:
            yield from read_known(self._output, part, committed)
        except (OSError, pa.ArrowException) as error:
            if committed:
                raise JobError(
                    f"{part.path} in the output can't be read ({error}). Restore it from a backup; "
                    "if another run has just ended, start this one again"
                ) from error
            yield TaggedOutput("damaged", Rewrite(part.path, None, Counter()))


class _Decide(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def start_bundle(self) -> None:
        self._counts: Counter[str] = Counter()
        self._planned = 0

    def process(self, element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
        uri, rows = element
        job = self._job
        decision = decide(uri, rows["listed"], rows["known"], job.inputs, job.retry_failures)
        self._counts += decision.counts
        for part in decision.stale:
            yield TaggedOutput("stale", (part, uri))
        if decision.todo is not None:
            self._planned += 1
            yield decision.todo

    def finish_bundle(self) -> Iterator[Any]:
        Tally(self._job.tally_folder).add(PLANNED, self._planned)
        for name in PLAN_COUNTS:
            Metrics.counter(METRICS, name).inc(self._counts[name])
        yield TaggedOutput("counts", at_end(self._counts))


def at_end(value: Any) -> WindowedValue:
    """What finish_bundle has to wrap its elements in; this job knows one window."""
    return WindowedValue(value, MIN_TIMESTAMP, [GlobalWindow()])
