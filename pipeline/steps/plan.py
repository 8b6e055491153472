"""The step that decides what to do, as a Beam transform: PlanRun."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, TaggedOutput

from pipeline.records import Todo
from pipeline.runs.batches import Batches, unpack
from pipeline.runs.job import Job
from pipeline.runs.progress import PLANNED, Tally
from pipeline.runs.rules import Scope, decide_partition
from pipeline.steps.outputs import METRICS, at_end, log_of, seen_batches

PLAN_COUNTS = ("listed", "new", "changed", "unchanged", "resumed", "deleted")


@dataclasses.dataclass
class PlanRun(beam.PTransform):  # type: ignore[misc]
    """Decide about every image: {listed, known, named} by bucket -> loose [Todo], packed (segment,
    Todo), stale (part, uri), renewed (part, Touched), seen (key, [uri, what]), counts Counter.

    An anti-join on the uri, a bucket of uris at a time; see pipeline.runs.rules for the rules.
    """

    job: Job
    unreadable: Any

    def expand(self, listed_known_and_named: Any) -> Any:
        return (
            listed_known_and_named
            | "ByBucket" >> beam.CoGroupByKey()
            | "Decide"
            >> beam.ParDo(_Decide(self.job), AsList(self.unreadable)).with_outputs(
                "packed", "stale", "renewed", "seen", "counts", main="loose"
            )
        )


class _Decide(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def start_bundle(self) -> None:
        self._counts: Counter[str] = Counter()
        self._planned = 0
        self._seen = Batches()

    def process(
        self, element: tuple[int, dict[str, Iterable[bytes]]], unreadable: list[str]
    ) -> Iterator[Any]:
        _, batches = element
        job = self._job
        scope = Scope(job.inputs, unreadable, job.retry_failures, job.merged)
        listed, known, named = (map(unpack, batches[name]) for name in ("listed", "known", "named"))
        for uri, decision in decide_partition(listed, known, named, scope):
            self._counts.update(decision.counts)
            for what in decision.seen:
                yield from seen_batches(self._seen.add(log_of(uri), (uri, what)))
            for part in decision.stale:
                yield TaggedOutput("stale", (part, uri))
            if decision.todo is not None:
                self._planned += 1
                yield _routed(decision.todo)
            if decision.renewed is not None:
                yield TaggedOutput("renewed", (decision.renewed.old_part, decision.renewed))

    def finish_bundle(self) -> Iterator[Any]:
        for seen in seen_batches(self._seen.rest()):
            yield at_end(seen)
        Tally(self._job.tally_folder).add(PLANNED, self._planned)
        for name in PLAN_COUNTS:
            Metrics.counter(METRICS, name).inc(self._counts[name])
        yield at_end(TaggedOutput("counts", self._counts))


def _routed(todo: Todo) -> Any:
    image = todo.image
    if not image.archive:
        return [todo]
    return TaggedOutput("packed", (f"{image.archive}#{image.segment}", todo))
