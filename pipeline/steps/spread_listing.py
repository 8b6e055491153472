"""The parts of listing that all workers share: ListRanges and LookUpRows.

One worker reads a list, or begins to list a bucket. What takes long is shared: to look up the rows
of lists, and to list the rest of a large bucket in ranges of names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings
from pipeline.inputs.files import images_of
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.lists.rows import RowBlock, RowLooker
from pipeline.inputs.resolve import ListSettings, is_archive
from pipeline.inputs.source import Input
from pipeline.inputs.stores.name_ranges import THREADS, NameRange, list_ranges
from pipeline.records import Image, Note
from pipeline.runs.batches import Batches, listed_batch, pack, partition_of, unpack
from pipeline.steps.outputs import Packed, StorageDoFn, all_at_end

# Tags of what listing gives besides images.
ARCHIVES: Final = "archives"
RANGES: Final = "ranges"
ASIDE: Final = "aside"

_ROUNDS = 2  # of ranges that are split again, before the rest is listed to the end


class Ranges(NamedTuple):
    """The results of ListRanges: see steps.list_images.Listing, and ListImages for `aside`."""

    images: PCollection[Packed]
    archives: PCollection[tuple[str, Image]]
    aside: PCollection[tuple[int, LeftAside]]


class Looked(NamedTuple):
    """The results of LookUpRows: see steps.list_images.Listing."""

    images: PCollection[Packed]
    archives: PCollection[tuple[str, Image]]


@dataclasses.dataclass
class ListRanges(beam.PTransform):  # type: ignore[misc]
    """List ranges of names in buckets: (number of the input, NameRange) -> Ranges.

    A range that turns out to be large is split, and its parts are spread once more. A listing that
    fails fails the job.

    Attributes:
        inputs: the run's inputs.
        storage: request settings for buckets.
    """

    inputs: tuple[Input, ...]
    storage: StorageSettings

    def expand(self, ranges: PCollection[tuple[int, NameRange]]) -> Ranges:
        found = []
        for number in range(_ROUNDS + 1):
            lister = _ListRanges(self.inputs, hands_on=number < _ROUNDS, storage=self.storage)
            listed = (
                ranges
                | f"Spread{number}" >> beam.Reshuffle()
                | f"List{number}"
                >> beam.ParDo(lister).with_outputs(ARCHIVES, ASIDE, RANGES, main="images")
            )
            found.append(listed)
            ranges = listed[RANGES]
        return Ranges(
            images=[each.images for each in found] | "Images" >> beam.Flatten(),
            archives=[each[ARCHIVES] for each in found] | "Archives" >> beam.Flatten(),
            aside=[each[ASIDE] for each in found] | "Aside" >> beam.Flatten(),
        )


@dataclasses.dataclass
class LookUpRows(beam.PTransform):  # type: ignore[misc]
    """Find the images that rows of lists name: packed RowBlock -> Looked.

    Attributes:
        lists: what lists may reach, and how long a file may take to answer.
        storage: request settings for buckets.
    """

    lists: ListSettings
    storage: StorageSettings

    def expand(self, blocks: PCollection[bytes]) -> Looked:
        looked = (
            blocks
            | "Spread" >> beam.Reshuffle()
            | "LookUp"
            >> beam.ParDo(_LookUp(self.lists, self.storage)).with_outputs(ARCHIVES, main="images")
        )
        return Looked(looked.images, looked[ARCHIVES])


class ImageOutputs:
    """Packs images into outputs, and puts archives apart."""

    def __init__(self) -> None:
        self._batches: Batches[tuple[int, str], Image] = Batches()

    def add(self, image: Image) -> Iterator[Packed | TaggedOutput]:
        """Add a listed image. Gives what is complete."""
        if is_archive(image):
            yield TaggedOutput(ARCHIVES, (image.uri, image))
            return
        key = (partition_of(image.uri), image.source)
        if images := self._batches.add(key, image):
            yield key[0], listed_batch(image.source, images)

    def rest(self) -> Iterator[Packed]:
        """What is left at the end."""
        for (partition, source), images in self._batches.rest():
            yield partition, listed_batch(source, images)


class _ListRanges(StorageDoFn):
    def __init__(self, inputs: tuple[Input, ...], hands_on: bool, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._inputs = inputs
        self._hands_on = hands_on

    def start_bundle(self) -> None:
        self._ranges: list[tuple[int, NameRange]] = []
        self._outputs = ImageOutputs()

    def process(self, element: tuple[int, NameRange]) -> Iterator[Packed | TaggedOutput]:
        # Ranges are listed together, since each waits for its next page most of the time.
        self._ranges.append(element)
        if len(self._ranges) == THREADS:
            yield from self._listed()

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        yield from all_at_end(self._listed())
        yield from all_at_end(self._outputs.rest())

    def _listed(self) -> Iterator[Packed | TaggedOutput]:
        ranges, self._ranges = self._ranges, []
        asides = {number: LeftAside(self._inputs[number]) for number, _ in ranges}
        for number, turn in list_ranges(ranges, self._hands_on):
            aside = LeftAside(self._inputs[number])
            for image in images_of(turn.files, self._inputs[number], aside):
                aside.is_empty = False
                yield from self._outputs.add(image)
            asides[number].merge(aside)
            yield from (TaggedOutput(RANGES, (number, rest)) for rest in turn.rest)
        yield from (TaggedOutput(ASIDE, each) for each in asides.items())


class _LookUp(StorageDoFn):
    def __init__(self, lists: ListSettings, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._lists = lists

    def setup(self) -> None:
        super().setup()
        self._looker = RowLooker(self._lists.roots, self._lists.seconds)

    def start_bundle(self) -> None:
        self._outputs = ImageOutputs()

    def process(self, element: bytes) -> Iterator[Packed | TaggedOutput]:
        for image in self._looker.images(unpack(element, RowBlock)):
            yield from self._outputs.add(image)

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        yield from all_at_end(self._outputs.rest())


def packed_block(block: RowBlock) -> bytes:
    """A block of rows in the form that LookUpRows takes."""
    return pack(block)


def notes_of(_: int, asides: Iterable[LeftAside]) -> Iterator[Note]:
    """What there is to say about an input, from what its parts left aside."""
    whole, *others = asides
    for each in others:
        whole.merge(each)
    yield from whole.notes()
