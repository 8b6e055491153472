"""Merge small parts into larger ones: fewer files with the same rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.dataset.files import make_live, not_named, own_files, remove
from pipeline.dataset.layout import COMPACT, is_of_upkeep, new_upkeep_id, output_folder
from pipeline.dataset.manifest import existing_manifest
from pipeline.dataset.parts import PartWriter
from pipeline.dataset.schema import NO_COLUMNS, extra_columns_of
from pipeline.options import DEFAULT_TARGET_SIZE
from pipeline.records import EMBEDDINGS, FAILURES, Kind, Part


class Merge(NamedTuple):
    """The merge of one encoder's parts of one kind.

    Attributes:
        encoder_id: the encoder's id.
        kind: the parts' kind.
        groups: each group is merged into one part.
        parts: number of live parts before.
    """

    encoder_id: str
    kind: Kind
    groups: list[list[Part]]
    parts: int

    @property
    def merged(self) -> int:
        """How many parts are merged."""
        return sum(map(len, self.groups))


def compact(
    output: str | os.PathLike[str],
    target_size: int = DEFAULT_TARGET_SIZE,
    dry_run: bool = False,
) -> list[Merge]:
    """Merge live parts that are smaller than a size into parts of up to that size.

    Rows, values and columns stay the same. One merged part at a time is held in memory. A reader
    sees the old parts or the new ones. If the command is killed, nothing is lost, and the next run
    or compaction removes the files that it left.

    Args:
        output: the ``--output`` of the job, local or gs://.
        target_size: the size of merged parts, in bytes.
        dry_run: change nothing, only return what would be merged.

    Raises:
        InputError: there is no dataset.
        JobError: a part is damaged, or a run has committed meanwhile; nothing is changed.
    """
    place = output_folder(output)
    manifest, version = existing_manifest(place)
    kinds: tuple[Kind, ...] = (EMBEDDINGS, FAILURES)
    merges = [
        Merge(name, kind, _grouped(state.of_kind(kind), target_size), len(state.of_kind(kind)))
        for name, state in manifest.encoders.items()
        for kind in kinds
    ]
    # Parts of killed commands, which only repeat rows. They are listed before this command writes
    # any. Another command that still writes parts began with this manifest or an older one, so it
    # can't commit after this command has.
    useless = {
        info.path for info in not_named(own_files(place), manifest) if is_of_upkeep(info.path)
    }
    merges = [merge for merge in merges if merge.groups]
    if dry_run or not (merges or useless):
        return merges
    run_id = new_upkeep_id(COMPACT)
    old = {part.path for merge in merges for group in merge.groups for part in group}
    encoders = {
        name: dataclasses.replace(
            state, parts=tuple(part for part in state.parts if part.path not in old)
        )
        for name, state in manifest.encoders.items()
    }
    written: list[str] = []
    try:
        for merge in merges:
            state = manifest.encoders[merge.encoder_id]
            extra_columns = (
                extra_columns_of(place, state) if merge.kind == EMBEDDINGS else NO_COLUMNS
            )
            writer = PartWriter(place, run_id, state.spec, extra_columns)
            for group in merge.groups:
                part = writer.merge(group)
                written.append(part.path)
                left = encoders[merge.encoder_id]
                encoders[merge.encoder_id] = dataclasses.replace(left, parts=(*left.parts, part))
    except Exception:
        remove(place, written)
        raise
    new = dataclasses.replace(manifest, encoders=encoders)
    make_live(place, COMPACT, new, version, old | useless, written)
    return merges


def _grouped(parts: Sequence[Part], target_size: int) -> list[list[Part]]:
    """Groups of small parts that fit into the size, in order of their paths, so about by age."""
    groups: list[list[Part]] = [[]]
    size = 0
    for part in sorted(part for part in parts if part.bytes < target_size):
        if size + part.bytes > target_size:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.bytes
    return [group for group in groups if len(group) > 1]
