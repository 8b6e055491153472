"""The steps that find out what there is, as Beam transforms: ListImages, ListMembers, ReadIndex."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from pipeline.inputs.archives.members import list_members
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.files import Unreadable
from pipeline.inputs.resolve import ListSettings, expand_input, is_archive
from pipeline.inputs.source import Input
from pipeline.inputs.uris import archive_of, uri_of
from pipeline.records import (
    KnownRow,
    KnownTuple,
    ListState,
)
from pipeline.runs.batches import (
    Batches,
    NamedBatch,
    as_known,
    listed_batch,
    pack,
    partition_of,
    unpack,
)
from pipeline.runs.job import Job
from pipeline.runs.rules import usefulness
from pipeline.steps.outputs import at_end


@dataclasses.dataclass
class ListImages(beam.PTransform):  # type: ignore[misc]
    """List what the inputs name: PBegin -> images (bucket, ListedBatch), archives (str, Image),
    unreadable folders str, lists ListState. Batches are packed; see pipeline.runs.batches.

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
    """Look into archives: {archives, known, named archives} -> images (bucket,
    ListedBatch), named (bucket, NamedBatch), which says what the lists that named archives named.

    One that was read in this version before is not opened; see pipeline.inputs.archives.members.
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
            | "Look" >> beam.ParDo(_Look(self.job)).with_outputs("named", main="images")
        )


class _List(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job, remember: bool) -> None:
        self._job = job
        self._lists = ListSettings(job.uri_column, job.carried, job.output, job.spec.id, remember)

    def process(self, element: Input) -> Iterator[Any]:
        batches = Batches()
        for found in expand_input(element, self._job.packing, self._lists):
            if isinstance(found, Unreadable):
                yield TaggedOutput("unreadable", uri_of(found.folder))
            elif isinstance(found, ListState):
                yield TaggedOutput("lists", found)
            elif is_archive(found):
                yield TaggedOutput("archives", (found.uri, found))
            else:
                for partition, images in batches.add(partition_of(found.uri), found):
                    yield partition, listed_batch(element.text, images)
        for partition, images in batches.rest():
            yield partition, listed_batch(element.text, images)


class _Look(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def start_bundle(self) -> None:
        self._batches = Batches()
        self._named = Batches()

    def process(self, element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
        _, sides = element
        job = self._job
        known = [KnownRow(row[0], as_known(row)) for rows in sides["known"] for row in unpack(rows)]
        archives = sorted(sides["archives"], key=usefulness)
        for archive in archives[:1]:
            for image in list_members(archive, known, job.packing, job.retry_failures):
                # Each input that reaches the archive has listed what is in it.
                for source in {each.source for each in archives}:
                    key = (partition_of(image.uri), source)
                    for _, images in self._batches.add(key, image._replace(source=source)):
                        yield key[0], listed_batch(source, images)
        for list_uri in sides["named"]:
            for row in known:
                key = (partition_of(row.uri), list_uri)
                for _, uris in self._named.add(key, row.uri):
                    yield TaggedOutput("named", (key[0], pack(NamedBatch(list_uri, uris))))

    def finish_bundle(self) -> Iterator[Any]:
        for (partition, list_uri), uris in self._named.rest():
            yield at_end(TaggedOutput("named", (partition, pack(NamedBatch(list_uri, uris)))))
        for (partition, source), images in self._batches.rest():
            yield at_end((partition, listed_batch(source, images)))


def _by_archive(element: tuple[int, bytes]) -> Iterator[tuple[str, bytes]]:
    archives: dict[str, list[KnownTuple]] = {}
    for row in unpack(element[1]):
        archive = archive_of(row[0]) or (row[0] if archive_kind(row[0]) else "")
        if archive:
            archives.setdefault(archive, []).append(row)
    for archive, rows in archives.items():
        yield archive, pack(rows)
