"""The box that reads and decodes: ReadImages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsMultiMap, PCollection, TaggedOutput
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings
from pipeline.dataset.changes import HAD, RENEWED, SAME
from pipeline.dataset.known_vectors import Buckets, Contents, KnownVectors, place_in
from pipeline.embedding.call_sizes import CallSettings
from pipeline.embedding.decode import Hashed, Outcome, Reading
from pipeline.embedding.read_ahead import ReadAhead
from pipeline.logs import name_run, run_logger
from pipeline.measures import Work
from pipeline.records import (
    READ,
    Checked,
    Decoded,
    Embedded,
    Failure,
    Note,
    Todo,
    Touched,
)
from pipeline.runs.progress import EMBEDDED, Tally
from pipeline.steps.meter import MEASURED, Meter
from pipeline.steps.outputs import Packed, SeenLog, StorageDoFn, all_at_end

# Images that are decoded while the encoder works, or two lists of images if that is more.
READ_AHEAD = 64
_LOG = run_logger(__name__)


class ToRead(NamedTuple):
    """The inputs of ReadImages.

    Attributes:
        loose: [Todo], one image in its own file.
        packed: (segment of an archive, Todo).
    """

    loose: PCollection[list[Todo]]
    packed: PCollection[tuple[str, Todo]]


class Read(NamedTuple):
    """The results of ReadImages.

    Attributes:
        decoded: images for the encoder.
        copied: images whose content already has a vector in the output.
        touched: (part, Touched) of images whose content has not changed.
        found: (part, uri) of rows whose image has other content, although its version is the same.
        failures: images that could not be read or decoded.
        notes: what there is to tell about images that were checked.
        seen: (log, packed SeenBatch) for the log of changes.
        measures: of reading and decoding.
    """

    decoded: PCollection[Decoded]
    copied: PCollection[Embedded]
    touched: PCollection[tuple[str, Touched]]
    found: PCollection[tuple[str, str]]
    failures: PCollection[Failure]
    notes: PCollection[Note]
    seen: PCollection[Packed]
    measures: PCollection[Work]


@dataclasses.dataclass
class ReadImages(beam.PTransform):  # type: ignore[misc]
    """Read and decode images: ToRead -> Read.

    A segment of an archive is read as one stream. Content with a vector in the output keeps that
    vector. Pixels never cross a shuffle, since the Reshuffle comes before reading.

    Attributes:
        reading: how images are read and decoded.
        calls: how many images the encoder gets at once; it decides how far to read ahead.
        output: the dataset's folder, which holds the known vectors.
        buckets: how the contents that the dataset has vectors of are spread.
        contents: (bucket, these contents).
        filter: (number, segment of the filter for them).
        tally_folder: the folder that counts finished images; None for no counting.
        storage: request settings for buckets.
        run_id: the run's id, for log messages.
    """

    reading: Reading
    calls: CallSettings
    output: str
    buckets: Buckets
    contents: PCollection[tuple[int, Contents]]
    filter: PCollection[tuple[int, bytes]]
    tally_folder: str | None
    storage: StorageSettings
    run_id: str

    def expand(self, todo: ToRead) -> Read:
        packed = todo.packed | "BySegment" >> beam.GroupByKey() | "Todos" >> beam.MapTuple(_todos)
        read = _Read(
            self.reading,
            self.calls,
            self.output,
            self.buckets,
            self.tally_folder,
            self.storage,
            Shared(),
            self.run_id,
        )
        found = (
            (todo.loose, packed)
            | "Todo" >> beam.Flatten()
            | "Spread" >> beam.Reshuffle()
            | "ReadAndDecode"
            >> beam.ParDo(read, AsMultiMap(self.contents), AsIter(self.filter)).with_outputs(
                *("copied", "touched", "found", "failures", "notes", "seen", MEASURED),
                main="decoded",
            )
        )
        return Read(
            found.decoded,
            found.copied,
            found.touched,
            found.found,
            found.failures,
            found.notes,
            found.seen,
            found[MEASURED],
        )


class _Read(StorageDoFn):
    def __init__(
        self,
        reading: Reading,
        calls: CallSettings,
        output: str,
        buckets: Buckets,
        tally_folder: str | None,
        storage: StorageSettings,
        shared: Shared,
        run_id: str = "",
    ) -> None:
        super().__init__(storage)
        self._reading = reading
        self._calls = calls
        self._output = output
        self._buckets = buckets
        self._shared = shared
        self._run_id = run_id
        self._tally = Tally(tally_folder)

    def setup(self) -> None:
        super().setup()
        name_run(self._run_id)
        self._meter = Meter()
        self._ahead = ReadAhead(self._reading, max(READ_AHEAD, 2 * self._calls.images_together()))
        self._known: KnownVectors | None = None

    def start_bundle(self) -> None:
        self._ahead.clear()
        self._meter.start()
        self._seen = SeenLog()
        self._checks: dict[str, str] = {}  # uri -> the part with its row

    def process(
        self,
        element: list[Todo],
        contents: Mapping[int, Iterable[Contents]],
        segments: Iterable[tuple[int, bytes]],
    ) -> Iterator[Decoded | TaggedOutput]:
        # Side inputs are first available here; they are complete, and the same in every bundle.
        self._contents = contents
        if self._known is None:  # all threads of a process share one
            _LOG.info("planning is done; images are read and embedded now")
            self._known = self._shared.acquire(
                lambda: KnownVectors(self._output, self._buckets, dict(segments))
            )
            self._ahead.known = self._known
        self._checks.update(
            (todo.image.uri, todo.old.part) for todo in element if todo.check and todo.old
        )
        if element[0].image.archive:
            outcomes = self._ahead.put_segment(element)
        else:
            outcomes = self._ahead.put(element[0])
        for outcome in outcomes:
            yield from self._routed(outcome)
        self._meter.take(self._ahead.measures)

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        for outcome in self._ahead.drain():
            yield from all_at_end(self._routed(outcome))
        self._meter.take(self._ahead.measures)
        yield from all_at_end(self._seen.rest())
        yield from all_at_end(self._meter.end())

    def teardown(self) -> None:
        self._ahead.close()

    def _routed(self, outcome: Outcome | Hashed) -> Iterator[Decoded | TaggedOutput]:
        if isinstance(outcome, Hashed):
            bucket = self._buckets.bucket_of(outcome.sha256)
            self._ahead.resume(outcome, place_in(self._contents[bucket], outcome.sha256))
            return
        checked = self._checks.pop(outcome.uri, None)
        if checked is not None:
            outcome, outputs = self._compared(outcome, checked)
            yield from outputs
        if isinstance(outcome, Checked):
            self._tally.add(EMBEDDED, 1)
        elif isinstance(outcome, Decoded):
            yield outcome
        elif isinstance(outcome, Embedded):
            yield TaggedOutput("copied", outcome)
        elif isinstance(outcome, Touched):
            self._tally.add(EMBEDDED, 1)
            yield TaggedOutput("touched", (outcome.old_part, outcome))
            yield from self._seen.add(outcome.uri, SAME)
        else:
            yield TaggedOutput("failures", outcome)

    def _compared(self, outcome: Outcome, part: str) -> tuple[Outcome, list[TaggedOutput]]:
        """The outcome of checking an image whose row is in a part, and what follows for the row."""
        if isinstance(outcome, Checked):
            return outcome, []
        if isinstance(outcome, Failure) and outcome.stage == READ:
            text = "{image} could not be read to compare the content, and kept as before"
            note = Note("--check-content", text, 1, f"{outcome.uri}: {outcome.message}")
            return Checked(outcome.uri), [TaggedOutput("notes", note)]
        outputs = list(self._seen.add(outcome.uri, HAD))
        if isinstance(outcome, Touched):  # the same content, with other carried values
            return outcome, [*outputs, *self._seen.add(outcome.uri, RENEWED)]
        return outcome, [*outputs, TaggedOutput("found", (part, outcome.uri))]


def _todos(segment: str, todos: Iterable[Todo]) -> list[Todo]:
    """All images of a segment that have to be read, in the order of its stream."""
    return sorted(todos, key=_place)


def _place(todo: Todo) -> int:
    return todo.image.place
