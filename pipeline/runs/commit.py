"""Make a run's work live, all of it or nothing. No Beam in here.

The order is what a crash at any point relies on: new parts lie there already; the run record is
written; the manifest replaces the old one if nobody else has done so meanwhile; only then is
removed what is no longer live. A crash before the manifest leaves parts that the next run takes
over, a crash after it leaves files that the next run removes.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from encoder.errors import ChangedError
from encoder.storage.base import is_temporary, join
from encoder.storage.registry import is_remote, store_for
from pipeline.dataset.files import files_below, lost_race, remove, still_there
from pipeline.dataset.layout import (
    encoder_folder,
    is_half_manifest,
    is_of_upkeep,
    is_part,
    is_uris,
    record_path,
    run_of,
)
from pipeline.dataset.manifest import (
    EncoderState,
    Manifest,
    read_manifest,
    removed_meanwhile,
    stray_records,
    write_manifest,
)
from pipeline.dataset.named_uris import list_of, merge_lists
from pipeline.dataset.parts import count_rows
from pipeline.errors import JobError
from pipeline.inputs.uris import path_of, readable
from pipeline.records import (
    CHANGES,
    EMBEDDINGS,
    FAILURES,
    LISTS,
    ListState,
    Part,
    Rewrite,
    Snapshot,
)
from pipeline.runs.job import Job
from pipeline.runs.rules import gone_from, listed_by


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Everything that a run did, as its commit needs to know it."""

    snapshot: Snapshot
    counts: Counter[str]
    written: Sequence[Part]
    rewritten: Sequence[Rewrite]
    lists: Sequence[ListState] = ()
    changes: Sequence[Part] = ()


def take_snapshot(job: Job) -> Snapshot:
    """Read the manifest and list what lies beside it."""
    manifest, version = read_manifest(job.output)
    state = manifest.encoders.get(job.spec.id, EncoderState(job.spec))
    live = {part.path for part in state.parts}
    left_over: list[str] = []
    debris: list[str] = []
    live |= {each.uris_path for each in state.lists}
    debris += _half_manifests(job.output)
    for kind in (EMBEDDINGS, FAILURES, LISTS):
        for path in _files_of(job, kind):
            if path in live or not (is_part(path) or is_uris(path) or is_temporary(path)):
                continue
            # A removed part was live once: its rows are old. Failures of a run that died are found
            # again by trying again, at little cost.
            useless = path in manifest.removed or kind != EMBEDDINGS or is_temporary(path)
            # What upkeep that died has written are copies of rows that the manifest knows.
            useless = useless or (version is not None and is_of_upkeep(path))
            (debris if useless else left_over).append(path)
    logs = _files_of(job, CHANGES)
    debris += [path for path in logs if run_of(path) not in manifest.runs]
    lists = (path for path in debris if is_uris(path) and path not in manifest.removed)
    unfinished = [list_of(job.output, path) for path in lists]
    return Snapshot(
        manifest_version=version,
        live=state.parts,
        left_over=tuple(sorted(left_over)),
        debris=tuple(sorted(debris)),
        stray_records=tuple(stray_records(job.output, manifest)),
        lists=state.lists,
        unfinished=tuple(each for each in unfinished if each is not None),
    )


def commit(job: Job, outcome: Outcome) -> dict[str, Any]:
    """Commit a run; gives its record. Doing it once more (a retry) changes nothing.

    Raises:
        JobError: the run must not be committed. Its parts stay for the next run.
    """
    manifest, version = read_manifest(job.output)
    record = _record(job, outcome)
    if manifest.runs.get(job.run_id) != job.token:
        if version != outcome.snapshot.manifest_version:
            raise _lost_race(manifest)
        _check(job, outcome, record)
        live = {part.path: part for part in _live_parts(job, outcome)}
        lists = _live_lists(job, outcome)
        state = EncoderState(job.spec, tuple(live.values()), lists)
        doomed = _doomed(job, outcome.snapshot) - set(live) - {each.uris_path for each in lists}
        own = {path for path in manifest.removed if f"/encoder={job.spec.id}/" in path}
        doomed |= still_there(job.output, set(manifest.removed) - own)
        doomed -= {part.path for part in outcome.changes}
        manifest = manifest.committing(job.run_id, job.token, state, doomed)
        path = record_path(job.output, job.run_id)
        store_for(path).write(path, json.dumps(record, indent=2).encode() + b"\n")
        try:
            write_manifest(job.output, manifest, version)
        except ChangedError:
            winner = read_manifest(job.output)[0]
            if job.run_id not in winner.runs:  # else the record is that of a run of the same name
                store_for(path).delete(path)
            raise _lost_race(winner) from None
    _clean_up(job, outcome.snapshot, manifest)
    return record


def _doomed(job: Job, snapshot: Snapshot) -> set[str]:
    """All that this run may remove: what its snapshot saw, and its own failed attempts.

    Parts that appeared since then in other runs' folders belong to a run that goes on beside
    this one; they are left alone.
    """
    doomed = {part.path for part in snapshot.live} | {*snapshot.left_over, *snapshot.debris}
    doomed |= {each.uris_path for each in snapshot.lists}
    for kind in (EMBEDDINGS, FAILURES, CHANGES):
        own = f"{encoder_folder(kind, job.spec.id)}/run={job.run_id}/"
        doomed |= {path for path in _files_of(job, kind) if path.startswith(own)}
    return doomed


def _record(job: Job, outcome: Outcome) -> dict[str, Any]:
    counts = outcome.counts
    touched: Counter[str] = Counter()  # only the version changed, not the content
    for rewrite in outcome.rewritten:
        touched.update(rewrite.touched)
    touched.pop("", None)  # those that were counted as unchanged from the start
    embedded = sum(part.rows for part in outcome.written if part.kind == EMBEDDINGS)
    loads = {load for part in outcome.written for load in part.loads}
    finished = datetime.now(timezone.utc)
    seconds = (finished - datetime.fromisoformat(job.started)).total_seconds()
    return {
        "run_id": job.run_id,
        "encoder_id": job.spec.id,
        "started": job.started,
        "finished": finished.isoformat(timespec="milliseconds"),
        "inputs": [readable(each.text) for each in job.inputs],
        "listed": counts["listed"],
        "new": counts["new"] - touched["new"],
        "changed": counts["changed"] - touched["changed"],
        "unchanged": counts["unchanged"] + touched.total(),
        "deleted": counts["deleted"],
        "embedded": embedded,
        "failed": sum(part.rows for part in outcome.written if part.kind == FAILURES),
        "resumed": counts["resumed"],
        "copied": sum(part.copied for part in outcome.written),
        "encoder_loads": len(loads),
        "computed_on": sorted({load.computes_on for load in loads}),
        "seconds": round(seconds, 3),
        "images_per_second": round(embedded / seconds, 3) if seconds > 0 else 0.0,
    }


def _check(job: Job, outcome: Outcome, record: dict[str, Any]) -> None:
    listed, failed = record["listed"], record["failed"]
    accounted = record["unchanged"] + record["resumed"] + record["embedded"] + failed
    if listed != accounted:
        raise JobError(
            f"{listed} images were listed but {accounted} are accounted for; nothing was "
            "committed. Please report this"
        )
    if not job.allow_empty:
        _check_listings(job, outcome.counts)
    if not job.allow_deletes and listed:
        _check_deletions(outcome.counts)
    if failed and (failed == listed or failed > job.max_failure_ratio * listed):
        raise JobError(
            f"{failed} of {listed} images failed, more than --max-failure-ratio "
            f"{job.max_failure_ratio:g} allows; nothing was committed. {_reasons(job, outcome)}"
        )


def _check_listings(job: Job, counts: Counter[str]) -> None:
    if not counts["listed"]:
        texts = ", ".join(each.text for each in job.inputs)
        raise JobError(f"no image was found in {texts}; pass --allow-empty if that is right")
    for each in job.inputs:
        gone = counts[gone_from(each.text)]
        if gone and not counts[listed_by(each.text)]:
            raise JobError(
                f"--input {each.text} lists no image, but the output has {gone} from there; pass "
                "--allow-empty to delete their rows"
            )


def _check_deletions(counts: Counter[str]) -> None:
    deleted = counts["deleted"]
    known = counts["listed"] - counts["new"] + deleted
    if deleted > known / 2:
        raise JobError(
            f"{deleted:,} of the {known:,} known images are gone from the inputs, more than half; "
            "nothing was committed. Pass --allow-deletes if that is right; what this run embedded "
            "is kept for then"
        )


def _reasons(job: Job, outcome: Outcome) -> str:
    from pipeline.cli.summary import failure_reasons

    parts = [part for part in outcome.written if part.kind == FAILURES]
    return "Reasons: " + "; ".join(failure_reasons(job.output, parts))


def _live_parts(job: Job, outcome: Outcome) -> Iterable[Part]:
    removed = {rewrite.old_path for rewrite in outcome.rewritten}
    for part in outcome.snapshot.live:
        if part.path not in removed:
            yield part
    for path in outcome.snapshot.left_over:
        if path not in removed:
            yield Part(EMBEDDINGS, path, *count_rows(job.output, path))
    for part in outcome.written:
        yield part._replace(loads=(), copied=0)
    for rewrite in outcome.rewritten:
        if rewrite.replacement is not None:
            yield rewrite.replacement


def _live_lists(job: Job, outcome: Outcome) -> tuple[ListState, ...]:
    """What this run read, and what earlier ones read of which this one does not speak.

    Rows of runs that died become live, so what their lists named is remembered as well.
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
    """Remove what is not live any more."""
    remove(job.output, manifest.removed)
    for path in snapshot.stray_records:
        if path != record_path(job.output, job.run_id):
            store_for(path).delete(path)


def _files_of(job: Job, kind: str) -> list[str]:
    folder = encoder_folder(kind, job.spec.id)
    return [info.path for info in files_below(job.output, folder)]


def _half_manifests(output: str) -> list[str]:
    """What commits that were killed have left beside the manifest."""
    if is_remote(output) or not os.path.isdir(output):
        return []
    return [name for name in os.listdir(output) if is_half_manifest(name)]


def _lost_race(manifest: Manifest) -> JobError:
    return lost_race(
        manifest,
        "this one worked, so this one was not committed. No work is lost: start it again, and it "
        "takes over the finished parts",
    )
