"""The steps that find out what there is, as Beam transforms: ListImages, ListMembers, ReadIndex."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from encoder.storage.registry import is_remote
from pipeline.dataset.manifest import unreadable
from pipeline.dataset.named_uris import read_uris
from pipeline.dataset.parts import Keys, read_known
from pipeline.inputs.archives.members import list_members
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.files import Unreadable
from pipeline.inputs.resolve import ListSettings, expand_input, is_archive
from pipeline.inputs.source import Input
from pipeline.inputs.uris import archive_of, path_of, uri_of
from pipeline.records import (
    EMBEDDINGS,
    KnownRow,
    KnownTuple,
    ListState,
    Part,
    Rewrite,
)
from pipeline.runs.batches import (
    Batches,
    NamedBatch,
    as_known,
    bucket_of,
    listed_batch,
    pack,
    unpack,
)
from pipeline.runs.job import Job
from pipeline.runs.rules import usefulness
from pipeline.runs.snapshot import take_snapshot
from pipeline.steps.plan import at_end

_PARTS_AHEAD = 15


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


class _List(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: Job, remember: bool) -> None:
        self._job = job
        self._lists = ListSettings(job.uri_column, job.kept, job.output, job.spec.id, remember)

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
                for bucket, images in batches.add(bucket_of(found.uri), found):
                    yield bucket, listed_batch(element.text, images)
        for bucket, images in batches.rest():
            yield bucket, listed_batch(element.text, images)


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
                    key = (bucket_of(image.uri), source)
                    for _, images in self._batches.add(key, image._replace(source=source)):
                        yield key[0], listed_batch(source, images)
        for list_uri in sides["named"]:
            for row in known:
                key = (bucket_of(row.uri), list_uri)
                for _, uris in self._named.add(key, row.uri):
                    yield TaggedOutput("named", (key[0], pack(NamedBatch(list_uri, uris))))

    def finish_bundle(self) -> Iterator[Any]:
        for (bucket, list_uri), uris in self._named.rest():
            yield at_end(TaggedOutput("named", (bucket, pack(NamedBatch(list_uri, uris)))))
        for (bucket, source), images in self._batches.rest():
            yield at_end((bucket, listed_batch(source, images)))


class _Snapshot(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Job) -> Iterator[Any]:
        snapshot = take_snapshot(element)
        for state in (*snapshot.lists, *snapshot.unfinished):
            if any(source.takes_as_list(path_of(state.list_uri)) for source in element.inputs):
                yield TaggedOutput("lists", state)
        for part in snapshot.live:
            yield part, True
        for path in snapshot.left_over:
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
        for bucket, rows in self._batches.rest():
            yield at_end((bucket, pack(rows)))

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _read(self) -> Iterator[Any]:
        """What the part says that has been in reading for longest."""
        part, committed, future = self._reading.popleft()
        try:
            keys = future.result()
            for row in keys.rows:
                for bucket, rows in self._batches.add(bucket_of(row[0]), row):
                    yield bucket, pack(rows)
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
            for bucket, uris in batches.add(bucket_of(uri), uri):
                yield bucket, pack(NamedBatch(element.list_uri, uris))
        for bucket, uris in batches.rest():
            yield bucket, pack(NamedBatch(element.list_uri, uris))


def _by_archive(element: tuple[int, bytes]) -> Iterator[tuple[str, bytes]]:
    archives: dict[str, list[KnownTuple]] = {}
    for row in unpack(element[1]):
        archive = archive_of(row[0]) or (row[0] if archive_kind(row[0]) else "")
        if archive:
            archives.setdefault(archive, []).append(row)
    for archive, rows in archives.items():
        yield archive, pack(rows)
