"""Commit a run: all of its work becomes live, or nothing.

The order makes a crash at any point safe: first, all new parts are complete; then the run record is
written; then the manifest replaces the old one, unless another run has replaced it meanwhile; then
files that are no longer live are removed. After a crash before the manifest, the next run takes
over the parts. After a later crash, the next run removes the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from encoder.errors import ChangedError
from encoder.storage.base import join
from encoder.storage.registry import store_for
from pipeline.dataset.files import lost_race, remove, still_there
from pipeline.dataset.layout import (
    encoder_folder,
    record_path,
)
from pipeline.dataset.manifest import (
    EncoderState,
    Manifest,
    read_manifest,
    removed_meanwhile,
    write_manifest,
)
from pipeline.dataset.named_uris import merge_lists
from pipeline.dataset.parts import count_rows
from pipeline.errors import JobError
from pipeline.inputs.uris import path_of
from pipeline.records import (
    CHANGES,
    EMBEDDINGS,
    FAILURES,
    Kind,
    ListState,
    Part,
    RunRecord,
    Snapshot,
)
from pipeline.runs.accounting import Outcome, check_run, run_record
from pipeline.runs.job import Job
from pipeline.runs.snapshot import files_of


def commit(job: Job, outcome: Outcome) -> RunRecord:
    """Commit a run and return its record. A second call, as in a retry, changes nothing.

    Raises:
        JobError: the run must not be committed. Its parts stay for the next run.
    """
    manifest, version = read_manifest(job.output)
    record = run_record(job, outcome)
    if manifest.runs.get(job.run_id) != job.token:
        if version != outcome.snapshot.manifest_version:
            raise _lost_race(manifest)
        check_run(job, outcome, record)
        live = {part.path: part for part in _live_parts(job, outcome)}
        lists = _live_lists(job, outcome)
        state = EncoderState(job.spec, tuple(live.values()), lists)
        to_remove = _to_remove(job, outcome.snapshot)
        to_remove -= set(live) | {each.uris_path for each in lists}
        own = {path for path in manifest.removed if f"/encoder={job.spec.id}/" in path}
        to_remove |= still_there(job.output, set(manifest.removed) - own)
        to_remove -= {part.path for part in outcome.changes}
        manifest = manifest.committing(job.run_id, job.token, state, to_remove)
        path = record_path(job.output, job.run_id)
        store_for(path).write(path, json.dumps(record, indent=2).encode() + b"\n")
        try:
            write_manifest(job.output, manifest, version)
        except ChangedError:
            winner = read_manifest(job.output)[0]
            if job.run_id not in winner.runs:  # else it is the winner's record
                store_for(path).delete(path)
            raise _lost_race(winner) from None
    _clean_up(job, outcome.snapshot, manifest)
    return record


def _to_remove(job: Job, snapshot: Snapshot) -> set[str]:
    """All files that this run may remove: those in its snapshot, and of its own failed attempts.

    Parts that appeared in other runs' folders since then belong to concurrent runs, and stay.
    """
    to_remove = {part.path for part in snapshot.live} | {*snapshot.resumable, *snapshot.useless}
    to_remove |= {each.uris_path for each in snapshot.lists}
    kinds: tuple[Kind, ...] = (EMBEDDINGS, FAILURES, CHANGES)
    for kind in kinds:
        own = f"{encoder_folder(kind, job.spec.id)}/run={job.run_id}/"
        to_remove |= {
            path for path in files_of(job.output, job.spec.id, kind) if path.startswith(own)
        }
    return to_remove


def _live_parts(job: Job, outcome: Outcome) -> Iterable[Part]:
    removed = {rewrite.old_path for rewrite in outcome.rewritten}
    for part in outcome.snapshot.live:
        if part.path not in removed:
            yield part
    for path in outcome.snapshot.resumable:
        if path not in removed:
            yield Part(EMBEDDINGS, path, *count_rows(job.output, path))
    for part in outcome.written:
        yield part._replace(loads=(), copied=0)
    for rewrite in outcome.rewritten:
        if rewrite.replacement is not None:
            yield rewrite.replacement


def _live_lists(job: Job, outcome: Outcome) -> tuple[ListState, ...]:
    """The lists that this run read, and those of earlier runs that its inputs do not cover.

    Rows of dead runs become live, so the uris that their lists named are kept as well.
    """
    states: dict[str, list[ListState]] = {}
    for each in (*outcome.snapshot.lists, *outcome.snapshot.unfinished):
        if not any(source.takes_as_list(path_of(each.list_uri)) for source in job.inputs):
            states.setdefault(each.list_uri, []).append(each)
    lists = {
        list_uri: found[0] if len(found) == 1 else merge_lists(job.output, job.spec.id, found)
        for list_uri, found in states.items()
    }
    for each in outcome.lists:
        full = join(job.output, each.uris_path)
        if store_for(full).stat(full) is None:  # listed before this run's snapshot was taken
            raise removed_meanwhile(each.uris_path)
        lists[each.list_uri] = each
    return tuple(lists[path] for path in sorted(lists))


def _clean_up(job: Job, snapshot: Snapshot, manifest: Manifest) -> None:
    """Remove files that are not live any more."""
    remove(job.output, manifest.removed)
    for path in snapshot.stray_records:
        if path != record_path(job.output, job.run_id):
            store_for(path).delete(path)


def _lost_race(manifest: Manifest) -> JobError:
    return lost_race(
        manifest,
        "this one worked, so this one was not committed. No work is lost: start it again, and it "
        "takes over the finished parts",
    )
