"""Measures of a run, which show its bottleneck. No Beam, and nothing heavy is imported.

The name of a measure ends with its unit, or is the plural of what is counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

Name = Literal[
    "read_bytes",
    "read_ms",
    "decode_ms",
    "ready_images",
    "wait_ms",
    "load_ms",
    "batch_images",
    "inference_ms",
    "cache_hits",
    "write_ms",
    "write_bytes",
    "retries",
]
# What each measure is, in the order in which people read them.
MEASURES: Final[Mapping[Name, str]] = {
    "read_bytes": "size of an image file that was read",
    "read_ms": "time to read an image file, or the next image of an archive",
    "decode_ms": "time to decode an image, with the wait for a free decoder process",
    "ready_images": "images that were ready when the encoder took the next one",
    "wait_ms": "time that a worker thread waited until the next image was ready",
    "load_ms": "time to load the encoder and to warm it up, once per worker machine",
    "batch_images": "images that the encoder got at once",
    "inference_ms": "time of the encoder for them, without the load",
    "cache_hits": "images of a list whose content had just been embedded",
    "write_ms": "time to write a part of embeddings",
    "write_bytes": "size of such a part",
    "retries": "requests to a bucket that were repeated",
}


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Values of one measure: how many, their sum, and the largest."""

    count: int
    sum: float
    max: float


Values = dict[Name, Distribution]


class Work(NamedTuple):
    """The measures of a bundle, and when it began and ended, in seconds since the epoch (UTC)."""

    values: Values
    began: float
    ended: float


class Collector:
    """Collects values from any thread; one thread takes them.

    Beam's own metrics belong to the thread that processes a bundle: what other threads give them is
    lost without an error.
    """

    def __init__(self) -> None:
        self._values: deque[tuple[Name, float]] = deque()

    def add(self, name: Name, value: float) -> None:
        """Add a value, in the unit of the measure's name."""
        self._values.append((name, value))

    @contextlib.contextmanager
    def timed(self, name: Name) -> Iterator[None]:
        """Add the milliseconds that the block takes, also if it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, 1000 * (time.perf_counter() - began))

    def take(self) -> list[tuple[Name, float]]:
        """The values since the last call."""
        return [self._values.popleft() for _ in range(len(self._values))]


def with_value(values: Values, name: Name, value: float) -> None:
    """Add a value to the distribution of its measure."""
    old = values.get(name)
    if old is None:
        values[name] = Distribution(1, value, value)
    else:
        values[name] = Distribution(old.count + 1, old.sum + value, max(old.max, value))


def total_of(work: Iterable[Work]) -> Work | None:
    """The work of several bundles as one, with measures in the order of MEASURES; None of none."""
    values: Values = {}
    began, ended = float("inf"), 0.0
    for each in work:
        began, ended = min(began, each.began), max(ended, each.ended)
        for name, new in each.values.items():
            old = values.get(name, Distribution(0, 0.0, 0.0))
            values[name] = Distribution(
                old.count + new.count, old.sum + new.sum, max(old.max, new.max)
            )
    if not ended:
        return None
    return Work({name: values[name] for name in MEASURES if name in values}, began, ended)
