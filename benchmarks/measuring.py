"""What measuring costs: processor time per image, in a Beam step as in a run.

The step does for every image what ReadImages, EmbedImages and WriteParts do to measure it, and
nothing else. The time of the same step without measures is subtracted.

    python -m benchmarks.measuring --images 200000
"""

from __future__ import annotations

import argparse
import logging
import queue
import time
from collections.abc import Iterator

import apache_beam as beam

from pipeline.measures import Collector
from pipeline.steps.meter import Meter
from pipeline.steps.outputs import all_at_end

BATCH = 16  # images per list for the encoder


class _Step(beam.DoFn):
    def __init__(self, measures: bool) -> None:
        self._measures = measures

    def setup(self) -> None:
        self._collector, self._meter, self._landed = Collector(), Meter(), queue.SimpleQueue()

    def start_bundle(self) -> None:
        self._meter.start()

    def process(self, image: int) -> Iterator[int]:
        self._landed.put(image)
        if not self._measures:
            yield self._landed.get()
            return
        collector = self._collector
        for _ in range(2):  # reading, decoding
            began = time.perf_counter()
            collector.add("read_ms", 1000 * (time.perf_counter() - began))
        collector.add("read_bytes", 100_000)
        collector.add("ready_images", self._landed.qsize())
        with collector.timed("wait_ms"):
            found = self._landed.get()
        if image % BATCH == 0:
            for name in ("batch_images", "cache_hits", "inference_ms"):
                self._meter.add(name, BATCH)
        self._meter.take(collector)
        yield found

    def finish_bundle(self) -> Iterator[object]:
        yield from all_at_end(self._meter.end())


def _numbers(images: int) -> Iterator[int]:
    yield from range(images)


def seconds_of(images: int, measures: bool) -> float:
    """Processor time of a pipeline with this step, in seconds."""
    began = time.process_time()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        (
            pipeline
            | beam.Create([images])
            | beam.FlatMap(_numbers)
            | beam.ParDo(_Step(measures)).with_outputs("measures", main="images")
        )
    return time.process_time() - began


def main() -> None:
    """Measure, and print microseconds per image."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=200_000)
    images = parser.parse_args().images
    logging.disable(logging.CRITICAL)
    seconds_of(1000, True)  # imports, and code of the runner that runs once
    for _ in range(3):
        without, measured = seconds_of(images, False), seconds_of(images, True)
        print(f"{1e6 * (measured - without) / images:.1f} microseconds per image")


if __name__ == "__main__":
    main()
