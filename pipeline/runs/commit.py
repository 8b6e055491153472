"""Commit a run: all of its work becomes live, or nothing.

The order makes a crash at any point safe: first, all new parts are complete and wait in the staging
folder; then the run record is written; then the manifest replaces the old one, unless another run
has replaced it meanwhile; then the parts move to their final paths, and files that are no longer
live are removed. After a crash before the manifest, the parts wait for a run that lists their
images. After a later crash, the next commit moves the parts and removes the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from encoder.errors import ChangedError
from encoder.storage.registry import store_for
from pipeline.dataset.files import lost_race, publish, remove, still_there
from pipeline.dataset.layout import (
    encoder_folder,
    final,
    full_path,
    is_staged,
    record_path,
    staged,
)
from pipeline.dataset.manifest import (
    EncoderState,
    Manifest,
    RunRecord,
    read_manifest,
    removed_meanwhile,
    write_manifest,
)
from pipeline.errors import JobError
from pipeline.inputs.uris import path_of, uri_of
from pipeline.records import (
    CHANGES,
    EMBEDDINGS,
    FAILURES,
    Kind,
    KnownInput,
    ListState,
    Part,
)
from pipeline.runs.accounting import Outcome, check_run, run_record
from pipeline.runs.job import Job
from pipeline.runs.scope import known_input
from pipeline.runs.snapshot import Snapshot, files_of


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
        try:
            check_run(job, outcome, record)
        except JobError:
            # What was embedded waits for a run that lists the same images. Copies of other parts
            # without some rows, and the log of changes, are of no use.
            copies = [each.replacement.path for each in outcome.rewritten if each.replacement]
            remove(job.output, [*copies, *(part.path for part in outcome.changes)])
            raise
        live = {part.path: part for part in _live_parts(outcome)}
        lists = _live_lists(job, outcome)
        inputs = _known_inputs(job, outcome)
        state = EncoderState(job.spec, tuple(live.values()), lists, inputs)
        to_remove = _to_remove(job, outcome)
        to_remove -= Manifest(encoders={job.spec.id: state}).live_files()
        own = {path for path in manifest.removed if f"/encoder={job.spec.id}/" in path}
        to_remove |= still_there(job.output, set(manifest.removed) - own)
        to_remove -= {part.path for part in outcome.changes}
        manifest = manifest.committing(job.run_id, job.token, state, to_remove)
        path = record_path(job.output, job.run_id)
        store_for(path).write(path, json.dumps(record, indent=2).encode() + b"\n")
        try:
            write_manifest(job.output, manifest, version)
        except ChangedError as error:
            winner = read_manifest(job.output)[0]
            if job.run_id not in winner.runs:  # else it is the winner's record
                store_for(path).delete(path)
            raise _lost_race(winner, error) from None
    publish(job.output, manifest)
    _hide(job, outcome)
    _clean_up(job, outcome.snapshot, manifest)
    return record


def _to_remove(job: Job, outcome: Outcome) -> set[str]:
    """All files that this run may remove: those in its snapshot, and of its own failed attempts.

    Parts that appeared in other runs' folders since then belong to concurrent runs, and stay. So do
    waiting parts with rows that this run did not list.
    """
    snapshot = outcome.snapshot
    # A part in a bucket is at both of its paths if its move was killed.
    to_remove = {path for part in snapshot.live for path in (part.path, final(part.path))}
    to_remove |= {*(part.path for part in snapshot.waiting), *snapshot.useless}
    to_remove |= {each.uris_path for each in snapshot.lists}
    kinds: tuple[Kind, ...] = (EMBEDDINGS, FAILURES, CHANGES)
    for kind in kinds:
        own = f"{encoder_folder(kind, job.spec.id)}/run={job.run_id}/"
        paths = (info.path for info in files_of(job.output, job.spec.id, kind))
        to_remove |= {path for path in paths if final(path).startswith(own)}
    return to_remove - set(_kept(outcome))


def _kept(outcome: Outcome) -> list[str]:
    """The waiting parts that keep waiting."""
    return [rewrite.old_path for rewrite in outcome.rewritten if rewrite.kept]


def _hide(job: Job, outcome: Outcome) -> None:
    """Move waiting parts to the staging folder that an early version wrote to their final paths."""
    for path in _kept(outcome):
        if not is_staged(path):
            place = full_path(job.output, path)
            store_for(place).move(place, full_path(job.output, staged(path)))


def _live_parts(outcome: Outcome) -> Iterable[Part]:
    removed = {rewrite.old_path for rewrite in outcome.rewritten}
    for part in outcome.snapshot.live:
        if part.path not in removed:
            yield part
    yield from outcome.taken
    for part in outcome.written:
        yield part._replace(loads=(), copied=0)
    for rewrite in outcome.rewritten:
        if rewrite.replacement is not None:
            yield rewrite.replacement


def _live_lists(job: Job, outcome: Outcome) -> tuple[ListState, ...]:
    """The lists that this run read, and those of earlier runs that its inputs do not cover."""
    lists = {
        each.list_uri: each
        for each in outcome.snapshot.lists
        if not any(source.takes_as_list(path_of(each.list_uri)) for source in job.inputs)
    }
    for each in outcome.lists:
        full = full_path(job.output, each.uris_path)
        if store_for(full).stat(full) is None:  # listed before this run's snapshot was taken
            raise removed_meanwhile(each.uris_path)
        lists[each.list_uri] = each
    return tuple(lists[path] for path in sorted(lists))


def _known_inputs(job: Job, outcome: Outcome) -> tuple[KnownInput, ...]:
    """The inputs of this run and of earlier ones, besides lists that are inputs of their own."""
    lists = {each.list_uri for each in outcome.lists}
    own = [known_input(source) for source in job.inputs if uri_of(source.base) not in lists]
    inputs = {each.place: each for each in (*outcome.snapshot.inputs, *own)}
    return tuple(inputs[place] for place in sorted(inputs))


def _clean_up(job: Job, snapshot: Snapshot, manifest: Manifest) -> None:
    """Remove files that are not live any more."""
    remove(job.output, manifest.removable((*manifest.removed, *snapshot.stray_records)))


def _lost_race(manifest: Manifest, error: ChangedError | None = None) -> JobError:
    return lost_race(
        manifest,
        "this one worked, so this one was not committed. No work is lost: start it again, and it "
        "takes over the finished parts",
        error,
    )
