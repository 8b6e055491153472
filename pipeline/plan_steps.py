"""The steps that decide what to do, as Beam transforms: ListImages, ReadIndex, PlanRun."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton, TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.commit import take_snapshot
from pipeline.dataset import unreadable
from pipeline.expand import ListSettings, expand_input, is_archive, read_uris
from pipeline.inputs import Input
from pipeline.job import Job
from pipeline.listing import Unreadable
from pipeline.members import list_members
from pipeline.names import archive_kind, archive_of
from pipeline.parts import read_known
from pipeline.planning import Scope, decide
from pipeline.progress import PLANNED, Tally
from pipeline.records import (
    EMBEDDINGS,
    Image,
    KnownRow,
    ListState,
    NamedBy,
    Part,
    Rewrite,
    Snapshot,
    Todo,
)

METRICS = "embed_images"
PLAN_COUNTS = ("listed", "new", "changed", "unchanged", "resumed", "deleted")


@dataclasses.dataclass
class ListImages(beam.PTransform):  # type: ignore[misc]
    """List what the inputs name: PBegin -> images (str, Image), archives (str, Image), unreadable
    folders str, lists ListState.

    A listing that fails fails the job.
    """

    job: Job
    remember: bool = True

    def expand(self, begin: Any) -> Any:
        return (
            begin
            | "Inputs" >> beam.Create(list(self.job.inputs))
            | "List"
            >> beam.ParDo(_List(self.job, self.remember)).with_outputs(
                "archives", "unreadable", "lists", main="images"
            )
        )


@dataclasses.dataclass
class ListMembers(beam.PTransform):  # type: ignore[misc]
    """Look into archives: {archives, known, named, snapshot} -> images (str, Image), named
    (str, str), which says of each known image which lists named its archive.

    One that was read in this version before is not opened; see pipeline.members.
    """

    job: Job

    def expand(self, found: Any) -> Any:
        sides = {
            "archives": found["archives"],
            "known": found["known"] | "OfArchives" >> beam.FlatMap(_by_archive),
            "named": found["named"],
        }
        return (
            sides
            | "ByArchive" >> beam.CoGroupByKey()
            | "Look"
            >> beam.ParDo(_Look(self.job), AsSingleton(found["snapshot"])).with_outputs(
                "named", main="images"
            )
        )


@dataclasses.dataclass
class ReadIndex(beam.PTransform):  # type: ignore[misc]
    """Read what the output holds: PBegin -> rows (str, Known), named (str, str) by lists,
    snapshot Snapshot, damaged Rewrite, outdated (part, uri).

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
            >> beam.ParDo(_ReadKeys(self.job)).with_outputs("damaged", "outdated", main="rows")
        )
        return {
            "rows": keys.rows,
            "damaged": keys.damaged,
            "outdated": keys.outdated,
            "snapshot": found.snapshot,
            "named": found.lists | "ReadNamed" >> beam.FlatMap(_named, self.job.output),
        }


@dataclasses.dataclass
class PlanRun(beam.PTransform):  # type: ignore[misc]
    """Decide about every image: {listed, known, named} -> todo (work, Todo), stale (part, uri),
    renewed (part, Touched), counts Counter.

    An anti-join on the uri; see pipeline.planning for the rules.
    """

    job: Job
    unreadable: Any

    def expand(self, listed_known_and_named: Any) -> Any:
        return (
            listed_known_and_named
            | "ByUri" >> beam.CoGroupByKey()
            | "Decide"
            >> beam.ParDo(_Decide(self.job), AsList(self.unreadable)).with_outputs(
                "stale", "renewed", "counts", main="todo"
            )
        )


class _List(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job, remember: bool) -> None:
        self._packing = job.packing
        self._lists = ListSettings(job.uri_column, job.kept, job.output, job.spec.id, remember)

    def process(self, element: Input) -> Iterator[Any]:
        for found in expand_input(element, self._packing, self._lists):
            if isinstance(found, Unreadable):
                yield TaggedOutput("unreadable", found.folder)
            elif isinstance(found, ListState):
                yield TaggedOutput("lists", found)
            elif is_archive(found):
                yield TaggedOutput("archives", (found.uri, found))
            else:
                yield found.uri, found


class _Look(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def process(
        self, element: tuple[str, dict[str, Iterable[Any]]], snapshot: Snapshot
    ) -> Iterator[Any]:
        _, sides = element
        job, known = self._job, list(sides["known"])
        archive = next(iter(sorted(sides["archives"], key=_source)), None)
        if archive is not None:
            as_before = snapshot.packing == job.packing_names
            for image in list_members(archive, known, job.packing, job.retry_failures, as_before):
                yield image.uri, image
        for list_path in sides["named"]:
            for row in known:
                yield TaggedOutput("named", (row.uri, list_path))


class _Snapshot(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Job) -> Iterator[Any]:
        snapshot = take_snapshot(element)
        for state in (*snapshot.lists, *snapshot.unfinished):
            if any(source.takes_as_list(state.list_path) for source in element.inputs):
                yield TaggedOutput("lists", state)
        for part in snapshot.live:
            yield part, True
        for path in snapshot.left_over:
            yield Part(EMBEDDINGS, path, 0, 0), False
        yield TaggedOutput("snapshot", snapshot)


class _ReadKeys(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._writer = job.writer

    def process(self, element: tuple[Part, bool]) -> Iterator[Any]:
        part, committed = element
        try:
            keys = read_known(part, committed, self._writer)
            yield from keys.rows
            if keys.outdated:
                yield TaggedOutput("outdated", (part.path, ""))
        except (OSError, pa.ArrowException) as error:
            if committed:
                raise unreadable(part.path, error) from error
            yield TaggedOutput("damaged", Rewrite(part.path, None, Counter()))


class _Decide(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def start_bundle(self) -> None:
        self._counts: Counter[str] = Counter()
        self._planned = 0

    def process(
        self, element: tuple[str, dict[str, Iterable[Any]]], unreadable: list[str]
    ) -> Iterator[Any]:
        uri, rows = element
        job = self._job
        scope = Scope(job.inputs, unreadable, job.retry_failures)
        decision = decide(uri, rows["listed"], rows["known"], scope, rows["named"])
        self._counts += decision.counts
        for part in decision.stale:
            yield TaggedOutput("stale", (part, uri))
        if decision.todo is not None:
            self._planned += 1
            yield work_of(decision.todo), decision.todo
        if decision.renewed is not None:
            yield TaggedOutput("renewed", (decision.renewed.old_part, decision.renewed))

    def finish_bundle(self) -> Iterator[Any]:
        Tally(self._job.tally_folder).add(PLANNED, self._planned)
        for name in PLAN_COUNTS:
            Metrics.counter(METRICS, name).inc(self._counts[name])
        yield TaggedOutput("counts", at_end(self._counts))


def work_of(todo: Todo) -> str:
    """What is read in one go: a file, or one segment of an archive."""
    image = todo.image
    return f"{image.archive}#{image.segment}" if image.archive else image.uri


def _by_archive(row: KnownRow) -> Iterator[tuple[str, KnownRow]]:
    archive = archive_of(row.uri) or (row.uri if archive_kind(row.uri) else "")
    if archive:
        yield archive, row


def _source(image: Image) -> tuple[bool, str]:
    return bool(image.error), image.source


def _named(state: ListState, output: str) -> Iterator[NamedBy]:
    return read_uris(output, state)


def at_end(value: Any) -> WindowedValue:
    """What finish_bundle has to wrap its elements in; this job knows one window."""
    return WindowedValue(value, MIN_TIMESTAMP, [GlobalWindow()])
