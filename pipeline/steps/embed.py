"""The steps around the encoder, as Beam transforms: from decoded images to vectors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import TaggedOutput

from pipeline.embedding.call_sizes import images_together, visible_gpus
from pipeline.embedding.handler import EncoderHandler
from pipeline.records import Decoded, Embedded, Failure
from pipeline.runs.job import Job
from pipeline.steps.outputs import at_end

# On a CPU, how far lists of images for the encoder grow.
LIST_IMAGES, LIST_SECONDS = 64, 1.0


def together(job: Job) -> int:
    """How many images the encoder gets together at first, on the machine that asks."""
    return images_together(job.batch_size, job.spec.height, job.spec.width)


@dataclasses.dataclass
class EmbedImages(beam.PTransform):  # type: ignore[misc]
    """Run the encoder, loaded once per machine: Decoded -> embedded Embedded, failures Failure."""

    job: Job

    def expand(self, decoded: Any) -> Any:
        job = self.job
        handler = EncoderHandler(
            *(job.bundle, job.spec.id, job.batch_size, job.trust, job.across_processes),
            *(job.storage, job.tally_folder),
        )
        return (
            decoded
            | "Gather" >> beam.ParDo(_Gather(job))
            | "RunInference" >> RunInference(handler.with_no_batching())
            | "Sort" >> beam.ParDo(_SortOutcomes()).with_outputs("failures", main="embedded")
        )


class _Gather(beam.DoFn):  # type: ignore[misc]
    """Decoded -> [Decoded], as many as keep all cores busy.

    At the end of a list cores wait for the last one, so lists grow as long as they take little
    time; the first one is short, so that the first vectors are soon there.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        self._enough = together(self._job)
        self._may_grow = not visible_gpus()

    def start_bundle(self) -> None:
        self._images: list[Decoded] = []

    def process(self, element: Decoded) -> Iterator[list[Decoded]]:
        self._images.append(element)
        if len(self._images) < self._enough:
            return
        began = time.monotonic()
        yield self._take()  # comes back when their vectors are there
        seconds = time.monotonic() - began
        if self._may_grow and seconds < LIST_SECONDS and 2 * self._enough <= LIST_IMAGES:
            self._enough *= 2

    def finish_bundle(self) -> Iterator[Any]:
        if self._images:
            yield at_end(self._take())

    def _take(self) -> list[Decoded]:
        images, self._images = self._images, []
        return images


class _SortOutcomes(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Embedded | Failure) -> Iterator[Any]:
        yield element if isinstance(element, Embedded) else TaggedOutput("failures", element)
