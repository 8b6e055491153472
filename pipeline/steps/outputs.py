"""What several steps give out: rows for the log of changes, and elements at the end of a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.runs.batches import pack, partition_of

METRICS = "embed_images"
LOGS = 4  # files of changes that a run writes at most


def log_of(uri: str) -> int:
    """Which of a run's logs of changes a uri goes to."""
    return partition_of(uri) % LOGS


def seen_batches(batches: Iterable[tuple[Any, list[Any]]]) -> Iterator[Any]:
    """What was seen of uris, on its way to the log of changes."""
    for key, rows in batches:
        yield TaggedOutput("seen", (key, pack(rows)))


def at_end(output: Any) -> Any:
    """What finish_bundle gives out, tagged or not, in its window; this job knows one."""
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, at_end(output.value))
    return WindowedValue(output, MIN_TIMESTAMP, [GlobalWindow()])
