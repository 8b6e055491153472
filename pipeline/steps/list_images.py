"""The first boxes of the graph: what the inputs list (ListImages, ListMembers)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypedDict

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.archives.members import list_members
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.files import Linked, Names, Unreadable, first_name
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.lists.rows import RowBlock
from pipeline.inputs.resolve import ListSettings, expand_input, is_archive
from pipeline.inputs.source import Input
from pipeline.inputs.stores.name_ranges import NameRange
from pipeline.inputs.uris import archive_of, uri_of
from pipeline.records import Image, KnownRow, KnownTuple, ListRows, ListState, Note
from pipeline.runs.batches import (
    Batches,
    KnownBatch,
    LinkedBatch,
    NamedBatch,
    as_known,
    listed_batch,
    pack,
    partition_of,
    unpack,
)
from pipeline.runs.rules import GONE
from pipeline.runs.scope import Scope, in_order
from pipeline.steps.outputs import Packed, StorageDoFn, at_end
from pipeline.steps.spread_listing import (
    ARCHIVES,
    ASIDE,
    RANGES,
    ImageOutputs,
    ListRanges,
    LookUpRows,
    notes_of,
    packed_block,
)


class Listing(NamedTuple):
    """The results of listing the inputs.

    Attributes:
        images: (partition, packed ListedBatch).
        archives: (uri, Image) of the archives whose images have to be listed.
        unreadable: uris of folders that could not be read.
        lists: the lists that were read, and the files that hold their uris.
        notes: what there is to tell about the inputs.
        rows: the number of rows of each list.
    """

    images: PCollection[Packed]
    archives: PCollection[tuple[str, Image]]
    unreadable: PCollection[str]
    lists: PCollection[ListState]
    notes: PCollection[Note]
    rows: PCollection[int]


class ArchivesToLook(NamedTuple):
    """The inputs of ListMembers.

    Attributes:
        archives: (uri, Image).
        known: (partition, packed KnownBatch): rows of the output.
        named: (uri of an archive, uri of the list that named it in an earlier run).
    """

    archives: PCollection[tuple[str, Image]]
    known: PCollection[Packed]
    named: PCollection[tuple[str, str]]


class Members(NamedTuple):
    """The images in archives.

    Attributes:
        images: (partition, packed ListedBatch).
        named: (partition, packed NamedBatch): uris in archives that lists named earlier.
        notes: what there is to tell about the archives.
    """

    images: PCollection[Packed]
    named: PCollection[Packed]
    notes: PCollection[Note]


@dataclasses.dataclass
class ListImages(beam.PTransform):  # type: ignore[misc]
    """List the files of the inputs: PBegin -> Listing.

    A listing that fails fails the job: nothing may be concluded from half of it. A file that
    several links lead to, maybe from several inputs, is listed under one name.

    Attributes:
        inputs: the run's inputs.
        packing: how archives are read.
        lists: how lists are read, and whether their uris are written down.
        storage: request settings for buckets.
    """

    inputs: tuple[Input, ...]
    packing: Packing
    lists: ListSettings
    storage: StorageSettings

    def expand(self, begin: PBegin) -> Listing:
        look = _List(self.inputs, self.packing, self.lists, self.storage)
        tags = (ARCHIVES, ASIDE, RANGES, "rows", "blocks", "linked", "unreadable", "lists", "notes")
        found = (
            begin
            | "Inputs" >> beam.Create(list(enumerate(self.inputs)))
            | "List" >> beam.ParDo(look).with_outputs(*tags, main="images")
        )
        linked = (
            found.linked
            | "ByPartition" >> beam.GroupByKey()
            | "UnderOneName"
            >> beam.FlatMapTuple(_under_one_name).with_outputs(ARCHIVES, main="images")
        )
        images, archives = [found.images, linked.images], [found.archives, linked.archives]
        asides = found[ASIDE] | "AsidesOf" >> beam.MapTuple(lambda number, aside: (number, [aside]))
        # Steps that get nothing cost time all the same, so those that can't get any are left out.
        if any(each.may_have_ranges() for each in self.inputs):
            ranges = found[RANGES] | "ListRanges" >> ListRanges(self.inputs, self.storage)
            images.append(ranges.images)
            archives.append(ranges.archives)
            asides = (found[ASIDE], ranges.aside) | "Aside" >> beam.Flatten()
            asides = asides | "ByInput" >> beam.GroupByKey()
        if any(each.may_hold_lists() for each in self.inputs):
            looked = found.blocks | "LookUpRows" >> LookUpRows(self.lists, self.storage)
            images.append(looked.images)
            archives.append(looked.archives)
        about_inputs = asides | "AboutInputs" >> beam.FlatMapTuple(notes_of)
        return Listing(
            images=images | "Images" >> beam.Flatten(),
            archives=archives | "Archives" >> beam.Flatten(),
            unreadable=found.unreadable,
            lists=found.lists,
            notes=(found.notes, about_inputs) | "Notes" >> beam.Flatten(),
            rows=found.rows,
        )


@dataclasses.dataclass
class ListMembers(beam.PTransform):  # type: ignore[misc]
    """Look into archives: ArchivesToLook -> Members.

    An archive whose version the output already holds is not opened; see inputs.archives.members.

    Attributes:
        packing: how archives are read.
        scope: what the run covers, and which images it tries again or checks.
        storage: request settings for buckets.
    """

    packing: Packing
    scope: Scope
    storage: StorageSettings

    def expand(self, found: ArchivesToLook) -> Members:
        sides = {
            "archives": found.archives,
            "known": found.known | "OfArchives" >> beam.FlatMap(_by_archive),
            "named": found.named,
        }
        look = _Look(self.packing, self.scope, self.storage)
        members = (
            sides
            | "ByArchive" >> beam.CoGroupByKey()
            | "Look" >> beam.ParDo(look).with_outputs("named", "notes", main="images")
        )
        return Members(members.images, members.named, members.notes)


class _List(StorageDoFn):
    def __init__(
        self,
        inputs: tuple[Input, ...],
        packing: Packing,
        lists: ListSettings,
        storage: StorageSettings,
    ) -> None:
        super().__init__(storage)
        self._inputs = inputs
        self._packing = packing
        self._lists = lists

    def setup(self) -> None:
        super().setup()
        self._names = Names(self._inputs)

    def process(self, element: tuple[int, Input]) -> Iterator[Packed | TaggedOutput]:
        number, source = element
        outputs = ImageOutputs()
        linked: Batches[int, tuple[str, Image]] = Batches()
        for found in expand_input(source, self._packing, self._lists, self._names):
            if isinstance(found, Linked):
                place = uri_of(found.place)
                if rows := linked.add(partition_of(place), (place, found.image)):
                    yield _linked_output(partition_of(place), rows)
            elif isinstance(found, Unreadable):
                yield TaggedOutput("unreadable", uri_of(found.folder))
            elif isinstance(found, NameRange):
                yield TaggedOutput(RANGES, (number, found))
            elif isinstance(found, RowBlock):
                yield TaggedOutput("blocks", packed_block(found))
            elif isinstance(found, ListState):
                yield TaggedOutput("lists", found)
            elif isinstance(found, ListRows):
                yield TaggedOutput("rows", found.rows)
            elif isinstance(found, LeftAside):
                yield TaggedOutput(ASIDE, (number, found))
            elif isinstance(found, Note):
                yield TaggedOutput("notes", found)
            else:
                yield from outputs.add(found)
        yield from outputs.rest()
        for partition, rows in linked.rest():
            yield _linked_output(partition, rows)


def _linked_output(partition: int, rows: list[tuple[str, Image]]) -> TaggedOutput:
    return TaggedOutput("linked", (partition, pack(LinkedBatch(rows))))


def _under_one_name(_: int, packed: Iterable[bytes]) -> Iterator[Packed | TaggedOutput]:
    """Each file as all inputs list it, under the same name."""
    by_place: dict[str, list[Image]] = {}
    for batch in packed:
        for place, image in unpack(batch, LinkedBatch).rows:
            by_place.setdefault(place, []).append(image)
    batches: Batches[tuple[int, str], Image] = Batches()
    for listed in by_place.values():
        uri = first_name(listed).uri
        for image in (each._replace(uri=uri) for each in listed):
            key = (partition_of(uri), image.source)
            if is_archive(image):
                yield TaggedOutput("archives", (uri, image))
            elif images := batches.add(key, image):
                yield key[0], listed_batch(image.source, images)
    for (partition, source), images in batches.rest():
        yield partition, listed_batch(source, images)


class _OfArchive(TypedDict):
    """What comes together for one archive."""

    archives: Iterable[Image]
    known: Iterable[bytes]
    named: Iterable[str]


class _Look(StorageDoFn):
    def __init__(self, packing: Packing, scope: Scope, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._packing = packing
        self._scope = scope

    def start_bundle(self) -> None:
        self._batches: Batches[tuple[int, str], Image] = Batches()
        self._named: Batches[tuple[int, str], str] = Batches()

    def process(self, element: tuple[str, _OfArchive]) -> Iterator[Packed | TaggedOutput]:
        _, sides = element
        known = [
            KnownRow(row[0], as_known(row))
            for packed in sides["known"]
            for row in unpack(packed, KnownBatch).rows
        ]
        scope = self._scope
        archives = in_order(sides["archives"], scope.order)
        gone = {row.uri for row in known}
        for archive in archives[:1]:
            again = scope.check.takes(archive.uri)
            for image in list_members(archive, known, self._packing, scope.retry_failures, again):
                if isinstance(image, Note):
                    yield TaggedOutput("notes", image)
                    continue
                gone.discard(image.uri)
                # Each input that reaches the archive has listed what is in it.
                for source in {each.source for each in archives}:
                    key = (partition_of(image.uri), source)
                    if images := self._batches.add(key, image._replace(source=source)):
                        yield key[0], listed_batch(source, images)
            for uri in gone:
                if uris := self._named.add((partition_of(uri), GONE), uri):
                    yield _named_output((partition_of(uri), GONE), uris)
        for list_uri in sides["named"]:
            for row in known:
                key = (partition_of(row.uri), list_uri)
                if uris := self._named.add(key, row.uri):
                    yield _named_output(key, uris)

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        for key, uris in self._named.rest():
            yield at_end(_named_output(key, uris))
        for (partition, source), images in self._batches.rest():
            yield at_end((partition, listed_batch(source, images)))


def _named_output(key: tuple[int, str], uris: list[str]) -> TaggedOutput:
    partition, list_uri = key
    return TaggedOutput("named", (partition, pack(NamedBatch(list_uri, uris))))


def _by_archive(element: Packed) -> Iterator[tuple[str, bytes]]:
    """Rows of what is packed, and of archives themselves, by the archive's uri."""
    archives: dict[str, list[KnownTuple]] = {}
    for row in unpack(element[1], KnownBatch).rows:
        archive = archive_of(row[0]) or (row[0] if archive_kind(row[0]) else None)
        if archive:
            archives.setdefault(archive, []).append(row)
    for archive, rows in archives.items():
        yield archive, pack(KnownBatch(rows))
