"""The box that makes large parts of many small ones, before the commit: MergeParts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from encoder.storage.base import StorageSettings
from pipeline.dataset.parts import PartWriter
from pipeline.records import Kind, Part
from pipeline.runs.job import RunIdentity
from pipeline.steps.outputs import StorageDoFn

MOST_PARTS = 1000  # that a run adds as they are
MERGED_BYTES = 128 << 20

Origin = Literal["written", "taken"]
WRITTEN: Final = "written"
TAKEN: Final = "taken"


class NewParts(NamedTuple):
    """The inputs of MergeParts, and its results.

    Attributes:
        written: parts that the run has written.
        taken: waiting parts of interrupted runs that it takes over.
    """

    written: PCollection[Part]
    taken: PCollection[Part]


@dataclasses.dataclass
class MergeParts(beam.PTransform):  # type: ignore[misc]
    """Merge the new parts of a run that has very many: NewParts -> NewParts.

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

    def expand(self, parts: NewParts) -> NewParts:
        found = (
            [
                parts.written | "Written" >> beam.Map(lambda part: (WRITTEN, part)),
                parts.taken | "Taken" >> beam.Map(lambda part: (TAKEN, part)),
            ]
            | "New" >> beam.Flatten()
            | "ByOrigin" >> beam.GroupByKey()
            | "Group" >> beam.FlatMapTuple(_grouped).with_outputs(WRITTEN, TAKEN, main="groups")
        )
        merge = beam.ParDo(_Merge(self.writer, self.storage), AsSingleton(self.identity))
        merged = (
            found.groups
            | "Spread" >> beam.Reshuffle()
            | "Merge" >> merge.with_outputs(TAKEN, main=WRITTEN)
        )
        return NewParts(
            (found[WRITTEN], merged[WRITTEN]) | "AllWritten" >> beam.Flatten(),
            (found[TAKEN], merged[TAKEN]) | "AllTaken" >> beam.Flatten(),
        )


def _grouped(
    origin: Origin, parts: Iterable[Part]
) -> Iterator[tuple[Origin, list[Part]] | TaggedOutput]:
    """Few parts as they are; of many, the groups to merge."""
    held: list[Part] = []
    stream = iter(parts)
    for part in stream:
        held.append(part)
        if len(held) > MOST_PARTS:
            break
    else:
        yield from (TaggedOutput(origin, part) for part in held)
        return
    groups: dict[Kind, list[Part]] = {}
    sizes: dict[Kind, int] = {}
    for part in (*held, *stream):
        group = groups.setdefault(part.kind, [])
        if group and sizes[part.kind] + part.bytes > MERGED_BYTES:
            yield origin, group
            group = groups[part.kind] = []
        sizes[part.kind] = part.bytes + (sizes[part.kind] if group else 0)
        group.append(part)
    for group in groups.values():
        yield origin, group


class _Merge(StorageDoFn):
    """[Part] -> Part; the commit removes the files of the parts that were merged."""

    def __init__(self, writer: PartWriter, storage: StorageSettings) -> None:
        super().__init__(storage)
        self._writer = writer

    def process(
        self, element: tuple[Origin, list[Part]], identity: RunIdentity
    ) -> Iterator[Part | TaggedOutput]:
        origin, group = element
        writer = self._writer.of_run(identity.run_id)
        part = writer.merge(group) if len(group) > 1 else group[0]
        yield part if origin == WRITTEN else TaggedOutput(TAKEN, part)
