"""The last box of a plan: Forecast, what a run would count."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsMultiMap, PBegin, PCollection
from apache_beam.transforms.combiners import Sample

from encoder.storage.base import StorageSettings
from pipeline.dataset.known_vectors import Buckets, Contents, KnownVectors, place_in
from pipeline.embedding.read_ahead import read_file
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.archives.members import archive_version
from pipeline.inputs.archives.registry import read_archive
from pipeline.inputs.stores.timeouts import in_time
from pipeline.options import DEFAULT_READS
from pipeline.records import Counted, Counts, Note, Todo
from pipeline.runs.foreseen import Foreseen, Looked, Sizes
from pipeline.steps.outputs import METRICS, StorageDoFn

FORECAST: Final = "forecast"  # the metric, one text, that takes the result to the launcher

# What is read of the images to embed, to see which content the output has already.
_FILES, _SEGMENTS = 1000, 8


@dataclasses.dataclass
class Forecast(beam.PTransform):  # type: ignore[misc]
    """Put together what planning found: PBegin -> nothing; the result is the metric FORECAST.

    Attributes:
        counts: the counts of planning.
        notes: what there is to tell about inputs and rows.
        loose: [Todo], one image in its own file.
        packed: (segment of an archive, Todo).
        buckets: how the contents that the output has vectors of are spread.
        contents: (bucket, these contents).
        output: the dataset's folder.
        packing: how archives are read.
        most: the largest file to read, in bytes.
        storage: request settings for buckets.
    """

    counts: PCollection[Counts]
    notes: PCollection[Note]
    loose: PCollection[list[Todo]]
    packed: PCollection[tuple[str, Todo]]
    buckets: Buckets
    contents: PCollection[tuple[int, Contents]]
    output: str
    packing: Packing
    most: int
    storage: StorageSettings

    def expand(self, begin: PBegin) -> PCollection[str]:
        look = _Look(self.output, self.buckets, self.packing, self.most, self.storage)
        some_contents = self.contents | "SomeContents" >> Sample.FixedSizeGlobally(1)
        segments = self.packed | "BySegment" >> beam.GroupByKey() | "Todos" >> beam.Values()
        looked = [
            todos
            | f"Sample{name}" >> Sample.FixedSizeGlobally(size)
            | f"Look{name}" >> beam.ParDo(look, AsMultiMap(self.contents), AsIter(some_contents))
            for name, todos, size in (
                ("Files", self.loose, _FILES),
                ("Segments", segments, _SEGMENTS),
            )
        ]
        return (
            begin.pipeline
            | "Once" >> beam.Create([None])
            | "Result"
            >> beam.Map(
                _report,
                AsIter(self.counts),
                AsIter(self.notes),
                AsIter(looked[0]),
                AsIter(looked[1]),
                AsIter(
                    self.loose
                    | "SizesOfFiles" >> beam.FlatMap(_sizes_of)
                    | "Files" >> beam.CombineGlobally(_sum_of)
                ),
                AsIter(
                    self.packed
                    | "Todo" >> beam.Values()
                    | "SizeOfPacked" >> beam.Map(_size_of)
                    | "Packed" >> beam.CombineGlobally(_sum_of)
                ),
            )
        )


class _Look(StorageDoFn):
    """[[Todo]] -> Looked: reads the images of a sample."""

    def __init__(
        self,
        output: str,
        buckets: Buckets,
        packing: Packing,
        most: int,
        storage: StorageSettings,
    ) -> None:
        super().__init__(storage)
        self._output = output
        self._buckets = buckets
        self._packing = packing
        self._most = most

    def process(
        self,
        element: list[Iterable[Todo]],
        contents: Mapping[int, Iterable[Contents]],
        some_contents: Iterable[list[tuple[int, Contents]]],
    ) -> Iterator[Looked]:
        groups = [list(each) for each in element]
        if not groups or not any(some_contents):  # nothing to compare, or nothing to compare with
            return
        vectors = KnownVectors(self._output, self._buckets)
        with ThreadPoolExecutor(DEFAULT_READS, thread_name_prefix="look") as pool:
            found = [pair for pairs in pool.map(self._read, groups) for pair in pairs]
        same: Counter[Counted] = Counter()
        copied = differing = 0
        for todo, sha256 in found:
            if todo.old is not None and sha256 == todo.old.sha256:
                same.update([] if todo.check else [todo.counted])
                continue
            differing += todo.check and sha256 is not None
            if sha256 is not None:
                place = place_in(contents[self._buckets.bucket_of(sha256)], sha256)
                copied += place is not None and vectors.read(place, sha256) is not None
        yield Looked(0, len(found), copied, differing, tuple(same.items()))

    def _read(self, todos: list[Todo]) -> list[tuple[Todo, str | None]]:
        """The images with their sha256 in hex; None for one that can't be read."""
        try:
            return list(in_time(self._contents(todos), self._packing.seconds, "reading a sample"))
        except Exception:  # a run makes failures of them
            return [(todo, None) for todo in todos]

    def _contents(self, todos: list[Todo]) -> Iterator[tuple[Todo, str | None]]:
        first = todos[0].image
        if not first.archive:
            roots = self._packing.roots
            data = None if first.error else read_file(first, self._most, roots)[0]
            yield todos[0], None if data is None else hashlib.sha256(data).hexdigest()
            return
        wanted = {todo.image.uri: todo for todo in todos if not todo.image.error}
        yield from ((todo, None) for todo in todos if todo.image.error)
        images = sorted((todo.image for todo in wanted.values()), key=lambda each: each.place)
        version = archive_version(first.version)
        for image, content in read_archive(first.archive, version, images, self._packing):
            digest = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else None
            yield wanted[image.uri], digest


def _sizes_of(todos: list[Todo]) -> list[Sizes]:
    return [_size_of(todo) for todo in todos]


def _size_of(todo: Todo) -> Sizes:
    size = todo.image.bytes
    return Sizes(1, size, int(not size and not todo.image.error))


def _sum_of(sizes: Iterable[Sizes]) -> Sizes:
    return functools.reduce(_sum, sizes, Sizes())


def _sum(one: Sizes, other: Sizes) -> Sizes:
    return Sizes(*map(sum, zip(one, other, strict=True)))


def _report(
    _: None,
    counts: Iterable[Counts],
    notes: Iterable[Note],
    files: Iterable[Looked],
    packed: Iterable[Looked],
    all_files: Iterable[Sizes],
    all_packed: Iterable[Sizes],
) -> None:
    total = Counts()
    for each in counts:
        total.add(each)
    sizes = [_sum_of(all_files), _sum_of(all_packed)]
    looked = [
        next(iter(found), Looked())._replace(images=size.images)
        for found, size in zip((files, packed), sizes, strict=True)
    ]
    foreseen = Foreseen(total, list(notes), looked[0], looked[1], _sum_of(sizes))
    Metrics.string_set(METRICS, FORECAST).add(foreseen.to_text())
