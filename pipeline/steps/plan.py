"""The box that decides what to do: PlanRun."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton, PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.records import TOTALS, Counts, KnownInput, Note, Staged, Todo, Touched
from pipeline.runs.job import RunIdentity
from pipeline.runs.notes import Remarks
from pipeline.runs.progress import PLANNED, Tally
from pipeline.runs.rules import Decision, decide_share
from pipeline.runs.scope import Scope
from pipeline.runs.shares import in_shares
from pipeline.steps.outputs import METRICS, Packed, SeenLog, all_at_end, at_end


class ToPlan(NamedTuple):
    """The inputs of PlanRun.

    Attributes:
        listed: (partition, packed ListedBatch): the images that exist now.
        known: (partition, packed KnownBatch): the rows of the output.
        named: (partition, packed NamedBatch): the uris that lists named in earlier runs.
    """

    listed: PCollection[Packed]
    known: PCollection[Packed]
    named: PCollection[Packed]


class Plan(NamedTuple):
    """The results of PlanRun.

    Attributes:
        loose: [Todo], one image in its own file.
        packed: (segment of an archive, Todo).
        stale: (part, uri) of committed rows that have to be removed.
        staged: (part, Staged): what the run takes of waiting parts.
        renewed: (part, Touched) of rows whose carried values change.
        seen: (log, packed SeenBatch) for the log of changes.
        counts: the counts of planning.
        notes: what there is to tell about images and rows.
    """

    loose: PCollection[list[Todo]]
    packed: PCollection[tuple[str, Todo]]
    stale: PCollection[tuple[str, str]]
    staged: PCollection[tuple[str, Staged]]
    renewed: PCollection[tuple[str, Touched]]
    seen: PCollection[Packed]
    counts: PCollection[Counts]
    notes: PCollection[Note]


@dataclasses.dataclass
class PlanRun(beam.PTransform):  # type: ignore[misc]
    """Decide about every image: ToPlan -> Plan.

    An anti-join on the uri, a share of the uris at a time; the rules are in runs.rules.

    Attributes:
        scope: what the run covers; what the three following give is added to it.
        unreadable: uris of folders that could not be read.
        earlier: one element, the inputs of earlier runs, besides lists.
        identity: one element; each run checks the content of another sample of images.
        tally_folder: the folder that counts planned images; None for no counting.
    """

    scope: Scope
    unreadable: PCollection[str]
    earlier: PCollection[tuple[KnownInput, ...]]
    identity: PCollection[RunIdentity]
    tally_folder: str | None

    def expand(self, sides: ToPlan) -> Plan:
        decide = _Decide(self.scope, self.tally_folder)
        plan = (
            sides
            | "Sides" >> beam.Flatten()
            | "ByPartition" >> beam.GroupByKey()
            | "Decide"
            >> beam.ParDo(
                decide,
                AsList(self.unreadable),
                AsSingleton(self.earlier),
                AsSingleton(self.identity),
            ).with_outputs(
                *("packed", "stale", "staged", "renewed", "seen", "counts", "notes"), main="loose"
            )
        )
        return Plan(
            plan.loose,
            plan.packed,
            plan.stale,
            plan.staged,
            plan.renewed,
            plan.seen,
            plan.counts,
            plan.notes,
        )


class _Decide(beam.DoFn):  # type: ignore[misc]
    def __init__(self, scope: Scope, tally_folder: str | None) -> None:
        self._scope = scope
        self._tally_folder = tally_folder

    def start_bundle(self) -> None:
        self._counts = Counts()
        self._planned = 0
        self._seen = SeenLog()
        self._notes = Remarks()

    def process(
        self,
        element: tuple[int, Iterable[bytes]],
        unreadable: list[str],
        earlier: tuple[KnownInput, ...],
        identity: RunIdentity,
    ) -> Iterator[list[Todo] | TaggedOutput]:
        scope = dataclasses.replace(
            self._scope,
            unreadable=unreadable,
            earlier=earlier,
            check=self._scope.check._replace(salt=identity.run_id),
        )
        for share, batches in in_shares(*element):
            yield from self._decided(decide_share(batches, scope, share))

    def _decided(
        self, decisions: Iterable[tuple[str, Decision]]
    ) -> Iterator[list[Todo] | TaggedOutput]:
        for uri, decision in decisions:
            self._counts.add(decision.counts)
            self._notes.add(uri, decision)
            for staged in decision.staged:
                yield TaggedOutput("staged", staged)
            for seen in decision.seen:
                yield from self._seen.add(uri, seen)
            for part in decision.stale:
                yield TaggedOutput("stale", (part, uri))
            if decision.todo is not None:
                self._planned += 1
                yield _routed(decision.todo)
            if decision.renewed is not None:
                yield TaggedOutput("renewed", (decision.renewed.old_part, decision.renewed))

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        yield from all_at_end(self._seen.rest())
        Tally(self._tally_folder).add(PLANNED, self._planned)
        for name in TOTALS:
            Metrics.counter(METRICS, name).inc(self._counts.totals[name])
        yield at_end(TaggedOutput("counts", self._counts))
        for note in self._notes.notes():
            yield at_end(TaggedOutput("notes", note))


def _routed(todo: Todo) -> list[Todo] | TaggedOutput:
    image = todo.image
    if not image.archive:
        return [todo]
    return TaggedOutput("packed", (f"{image.archive}#{image.segment}", todo))
