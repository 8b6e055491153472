"""The output at the start of a run: live parts, waiting parts, useless files."""

from __future__ import annotations

import os
from typing import NamedTuple

from encoder.spec import EncoderSpec
from encoder.storage.base import FileInfo, is_temporary
from encoder.storage.registry import is_remote
from pipeline.dataset.files import files_below
from pipeline.dataset.layout import (
    encoder_folder,
    is_half_manifest,
    is_of_upkeep,
    run_of,
    staged,
)
from pipeline.dataset.manifest import (
    EncoderState,
    read_manifest,
    stray_records,
)
from pipeline.records import (
    CHANGES,
    EMBEDDINGS,
    FAILURES,
    LISTS,
    Kind,
    KnownInput,
    ListState,
    Part,
)


class Snapshot(NamedTuple):
    """The state of the output at the start of a run. Paths are relative to the output.

    Attributes:
        manifest_version: the version of the manifest that was read; None if there was none.
        live: this encoder's parts that the manifest names.
        waiting: embedding parts that no manifest names, from runs that did not commit. Their
            numbers of rows are not known yet.
        useless: files that no manifest names and that nothing can be taken over from.
        stray_records: run records that the manifest does not name.
        lists: the lists that earlier runs read, with the uris that these named.
        inputs: the inputs of earlier runs, besides lists.
    """

    manifest_version: str | None
    live: tuple[Part, ...]
    waiting: tuple[Part, ...]
    useless: tuple[str, ...]
    stray_records: tuple[str, ...] = ()
    lists: tuple[ListState, ...] = ()
    inputs: tuple[KnownInput, ...] = ()


def take_snapshot(output: str, spec: EncoderSpec) -> Snapshot:
    """Read the manifest and list the encoder's files, those of other states too."""
    manifest, version = read_manifest(output)
    state = manifest.encoders.get(spec.id, EncoderState(spec))
    live = manifest.live_files()
    waiting: list[Part] = []
    useless: list[str] = _half_manifests(output)
    kinds: tuple[Kind, ...] = (EMBEDDINGS, FAILURES, LISTS)
    for kind in kinds:
        for info in files_of(output, spec.id, kind):
            path = info.path
            if path in live:
                continue
            # Removed parts were live before, so their rows are old. Failures of a run that did not
            # commit are tried again, which costs little.
            is_useless = path in manifest.removed or kind != EMBEDDINGS or is_temporary(path)
            # Parts of interrupted upkeep are copies of rows in live parts.
            is_useless = is_useless or (version is not None and is_of_upkeep(path))
            if is_useless:
                useless.append(path)
            else:
                waiting.append(Part(EMBEDDINGS, path, 0, info.bytes))
    logs = files_of(output, spec.id, CHANGES)
    useless += [info.path for info in logs if run_of(info.path) not in manifest.runs]
    return Snapshot(
        manifest_version=version,
        live=state.parts,
        waiting=tuple(sorted(waiting)),
        useless=tuple(sorted(useless)),
        stray_records=tuple(stray_records(output, manifest)),
        lists=state.lists,
        inputs=state.inputs,
    )


def files_of(output: str, encoder_id: str, kind: Kind) -> list[FileInfo]:
    """All of an encoder's files of one kind, waiting ones too; paths relative to the output."""
    folder = encoder_folder(kind, encoder_id)
    return [info for each in (folder, staged(folder)) for info in files_below(output, each)]


def _half_manifests(output: str) -> list[str]:
    """Temporary manifests that killed commits left behind."""
    if is_remote(output) or not os.path.isdir(output):
        return []
    return [name for name in os.listdir(output) if is_half_manifest(name)]
