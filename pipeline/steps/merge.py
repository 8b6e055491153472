"""The box that makes large parts of many small ones, before the commit: MergeParts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from encoder.storage.base import StorageSettings
from pipeline.dataset.parts import PartWriter
from pipeline.records import Kind, Part
from pipeline.runs.job import RunIdentity
from pipeline.steps.outputs import StorageDoFn

MOST_PARTS = 1000  # that a run adds as they are
MERGED_BYTES = 128 << 20


@dataclasses.dataclass
class MergeParts(beam.PTransform):  # type: ignore[misc]
    """Merge the parts of a run that has written very many: Part -> Part.

    Parts are small while the run works, so that a killed run loses little. If they stayed so, the
    manifest, and what readers have to open, would grow with them: a part for every thousand images.

    Attributes:
        writer: writes parts.
        identity: one element, of the run whose parts they are.
        storage: request settings for buckets.
    """

    writer: PartWriter
    identity: PCollection[RunIdentity]
    storage: StorageSettings

    def expand(self, parts: PCollection[Part]) -> PCollection[Part]:
        found = (
            parts
            | "Together" >> beam.Map(lambda part: (None, part))
            | "All" >> beam.GroupByKey()
            | "Group" >> beam.FlatMapTuple(_grouped).with_outputs("groups", main="kept")
        )
        merged = (
            found.groups
            | "Spread" >> beam.Reshuffle()
            | "Merge" >> beam.ParDo(_Merge(self.writer, self.storage), AsSingleton(self.identity))
        )
        return (found.kept, merged) | "Merged" >> beam.Flatten()


def _grouped(_: None, parts: Iterable[Part]) -> Iterator[Part | TaggedOutput]:
    """Few parts as they are; of many, the groups to merge."""
    held: list[Part] = []
    stream = iter(parts)
    for part in stream:
        held.append(part)
        if len(held) > MOST_PARTS:
            break
    else:
        yield from held
        return
    groups: dict[Kind, list[Part]] = {}
    sizes: dict[Kind, int] = {}
    for part in (*held, *stream):
        group = groups.setdefault(part.kind, [])
        if group and sizes[part.kind] + part.bytes > MERGED_BYTES:
            yield TaggedOutput("groups", group)
            group = groups[part.kind] = []
        sizes[part.kind] = part.bytes + (sizes[part.kind] if group else 0)
        group.append(part)
    for group in groups.values():
        yield TaggedOutput("groups", group)


class _Merge(StorageDoFn):
    """[Part] -> Part; the commit removes the files of the parts that were merged."""

    def __init__(self, writer: PartWriter, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._writer = writer

    def process(self, element: list[Part], identity: RunIdentity) -> Iterator[Part]:
        writer = self._writer.of_run(identity.run_id)
        yield writer.merge(element) if len(element) > 1 else element[0]
