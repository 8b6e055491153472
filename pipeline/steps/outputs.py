"""What several steps share: storage settings in workers, the log of changes, ends of bundles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from encoder.storage.base import StorageSettings, configure
from pipeline.dataset.changes import Seen
from pipeline.runs.batches import Batches, SeenBatch, pack, partition_of

METRICS = "embed_images"  # the namespace of all counters
LOGS = 4  # files of changes that a run writes at most

# A partition and a packed batch for it; see pipeline.runs.batches.
Packed = tuple[int, bytes]

_Output = TypeVar("_Output")


class StorageDoFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn that reads or writes files: in each worker it applies the job's storage settings."""

    def __init__(self, storage: StorageSettings) -> None:
        self._storage = storage

    def setup(self) -> None:
        """Apply the settings; Beam calls this once per worker thread."""
        configure(self._storage)


class SeenLog:
    """Collects what happened to uris, for the log of changes."""

    def __init__(self) -> None:
        self._batches: Batches[int, tuple[str, Seen]] = Batches()

    def add(self, uri: str, seen: Seen) -> Iterator[TaggedOutput]:
        """Note what happened to a uri. Returns batches that are full."""
        log = _log_of(uri)
        if rows := self._batches.add(log, (uri, seen)):
            yield _seen_output(log, rows)

    def rest(self) -> Iterator[TaggedOutput]:
        """The batches that are left."""
        for log, rows in self._batches.rest():
            yield _seen_output(log, rows)


def _log_of(uri: str) -> int:
    """The number of the log that a uri belongs to."""
    return partition_of(uri) % LOGS


def _seen_output(log: int, rows: list[tuple[str, Seen]]) -> TaggedOutput:
    return TaggedOutput("seen", (log, pack(SeenBatch(rows))))


def at_end(output: _Output) -> WindowedValue | TaggedOutput:
    """An output of finish_bundle, tagged or not, in the one window that a job has."""
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, at_end(output.value))
    return WindowedValue(output, MIN_TIMESTAMP, [GlobalWindow()])


def all_at_end(outputs: Iterable[_Output]) -> Iterator[WindowedValue | TaggedOutput]:
    """Outputs of finish_bundle; see at_end."""
    return map(at_end, outputs)
