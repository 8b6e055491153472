"""Remove an encoder with all its files, the rows below a folder, or the records of old runs."""

from __future__ import annotations

import dataclasses
import os
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from encoder.errors import InputError
from encoder.storage.base import FileInfo
from encoder.storage.registry import store_for
from pipeline.dataset.files import (
    KINDS,
    files_below,
    is_log,
    make_live,
    not_named,
    own_files,
)
from pipeline.dataset.layout import (
    PRUNE,
    SUBMITTED,
    encoder_folder,
    full_path,
    is_failed_record,
    output_folder,
    record_name,
    run_of,
    staged,
)
from pipeline.dataset.manifest import existing_manifest
from pipeline.upkeep.checks import started


class Pruned(NamedTuple):
    """The files and rows that are removed.

    Attributes:
        files: with paths relative to the output.
        rows: the number of rows in the removed live parts.
        runs: the runs that are removed from the history.
    """

    files: list[FileInfo]
    rows: int = 0
    runs: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of all files, in bytes."""
        return sum(info.bytes for info in self.files)


def prune_encoder(output: str | os.PathLike[str], encoder_id: str, dry_run: bool = False) -> Pruned:
    """Remove an encoder's embeddings, failures, lists and logs, and its entry in the manifest.

    The records of its runs stay, as history.

    Args:
        output: the ``--output`` of the job, local or gs://.
        encoder_id: the encoder's id.
        dry_run: change nothing, only return what would be removed.

    Raises:
        InputError: there is no dataset, or no such encoder in it.
        JobError: a run has committed meanwhile; nothing is changed.
    """
    place = output_folder(output)
    manifest, version = existing_manifest(place)
    finals = [encoder_folder(kind, encoder_id) for kind in KINDS]
    folders = [*finals, *map(staged, finals)]
    files = [
        info
        for info in own_files(place)
        if any(info.path.startswith(f"{folder}/") for folder in folders)
    ]
    if encoder_id not in manifest.encoders and not files:
        known = ", ".join(sorted(manifest.encoders)) or "none"
        raise InputError(f"--encoder is {encoder_id!r}; the dataset has {known}")
    encoders = dict(manifest.encoders)
    state = encoders.pop(encoder_id, None)
    pruned = Pruned(files, sum(part.rows for part in state.parts) if state else 0)
    if not dry_run:
        new = dataclasses.replace(manifest, encoders=encoders)
        make_live(place, PRUNE, new, version, {info.path for info in files})
    return pruned


def prune_runs(
    output: str | os.PathLike[str], older_than: timedelta, dry_run: bool = False
) -> Pruned:
    """Remove the records and logs of old runs, failed ones too, and what killed runs left then.

    All live files stay, and so does the record of the latest run.

    Args:
        output: the ``--output`` of the job, local or gs://.
        older_than: minimum age, since the run began or since a file was written.
        dry_run: change nothing, only return what would be removed.

    Raises:
        InputError: there is no dataset.
        JobError: a run has committed meanwhile; nothing is changed.
    """
    place = output_folder(output)
    manifest, version = existing_manifest(place)
    limit = datetime.now(timezone.utc) - older_than
    oldest = f"{limit:%Y-%m-%dT%H:%M:%S}"
    runs = tuple(run for run in list(manifest.runs)[:-1] if "" < started(place, run) < oldest)
    files = own_files(place)
    records = {record_name(run) for run in runs}
    to_remove = [
        info
        for info in files
        if info.path in records or (is_log(info.path) and run_of(info.path) in runs)
    ]
    others = [*not_named(files, manifest), *files_below(place, SUBMITTED)]
    others += [info for info in files if is_failed_record(info.path)]
    to_remove += [info for info in others if _is_older(place, info, limit)]
    if not dry_run and (to_remove or runs):
        left = {run: token for run, token in manifest.runs.items() if run not in runs}
        new = dataclasses.replace(manifest, runs=left)
        make_live(place, PRUNE, new, version, {info.path for info in to_remove})
    return Pruned(to_remove, runs=runs)


def _is_older(output: str, info: FileInfo, limit: datetime) -> bool:
    full = full_path(output, info.path)
    written = store_for(full).modified(full)
    return written is not None and written < limit
