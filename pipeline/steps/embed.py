"""The box around the encoder: EmbedImages."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from encoder.compute.machine import visible_gpus
from pipeline.embedding.call_sizes import CallSettings
from pipeline.embedding.handler import Call, EncoderHandler
from pipeline.measures import Work
from pipeline.records import Decoded, Embedded, Failure
from pipeline.steps.meter import MEASURED, Meter
from pipeline.steps.outputs import all_at_end, at_end

# On a CPU, the limits for lists of images for the encoder.
LIST_IMAGES, LIST_SECONDS = 64, 1.0


class Vectors(NamedTuple):
    """The results of the encoder.

    Attributes:
        embedded: images with their vectors.
        failures: images that the encoder could not take.
        measures: of the encoder.
    """

    embedded: PCollection[Embedded]
    failures: PCollection[Failure]
    measures: PCollection[Work]


@dataclasses.dataclass
class EmbedImages(beam.PTransform):  # type: ignore[misc]
    """Run the encoder, loaded once per worker machine: Decoded -> Vectors.

    Attributes:
        handler: loads and calls the encoder.
        calls: how many images it gets at once.
    """

    handler: EncoderHandler
    calls: CallSettings

    def expand(self, decoded: PCollection[Decoded]) -> Vectors:
        vectors = (
            decoded
            | "Gather" >> beam.ParDo(_Gather(self.calls))
            | "RunInference" >> RunInference(self.handler.with_no_batching())
            | "Sort"
            >> beam.ParDo(_SortOutcomes()).with_outputs("failures", MEASURED, main="embedded")
        )
        return Vectors(vectors.embedded, vectors.failures, vectors[MEASURED])


class _Gather(beam.DoFn):  # type: ignore[misc]
    """Decoded -> [Decoded], in lists that are long enough to keep all cores busy.

    At the end of a list, cores wait for the last image. So lists grow while they take little time.
    The first list is short, so that the first vectors come early.
    """

    def __init__(self, calls: CallSettings) -> None:
        self._calls = calls

    def setup(self) -> None:
        self._enough = self._calls.images_together()
        self._may_grow = not visible_gpus()

    def start_bundle(self) -> None:
        self._images: list[Decoded] = []

    def process(self, element: Decoded) -> Iterator[list[Decoded]]:
        self._images.append(element)
        if len(self._images) < self._enough:
            return
        began = time.monotonic()
        yield self._take()  # returns when the vectors of the list are computed
        seconds = time.monotonic() - began
        if self._may_grow and seconds < LIST_SECONDS and 2 * self._enough <= LIST_IMAGES:
            self._enough *= 2

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._images:
            yield at_end(self._take())

    def _take(self) -> list[Decoded]:
        images, self._images = self._images, []
        return images


class _SortOutcomes(beam.DoFn):  # type: ignore[misc]
    def setup(self) -> None:
        self._meter = Meter()

    def start_bundle(self) -> None:
        self._meter.start()

    def process(self, element: Embedded | Failure | Call) -> Iterator[Embedded | TaggedOutput]:
        if isinstance(element, Call):
            for name, value in element.values:
                self._meter.add(name, value)
        elif isinstance(element, Embedded):
            yield element
        else:
            yield TaggedOutput("failures", element)

    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        yield from all_at_end(self._meter.end())
