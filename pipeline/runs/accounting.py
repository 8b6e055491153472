"""The record of a run, and the checks that it has to pass before it is committed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone

from pipeline.dataset.parts import read_part
from pipeline.errors import JobError
from pipeline.inputs.uris import readable
from pipeline.records import (
    EMBEDDINGS,
    FAILURES,
    Counted,
    Counts,
    ListState,
    Note,
    Part,
    Rewrite,
    RunRecord,
    Snapshot,
)
from pipeline.runs.job import Job
from pipeline.runs.notes import note_lines

_REASONS = 5
_MESSAGE_LENGTH = 120


def failure_reasons(output: str, parts: Sequence[Part]) -> list[str]:
    """The most frequent reasons, each with one example."""
    rows = [row for part in parts for row in read_part(output, part.path).to_pylist()]
    kinds = Counter((row["stage"], row["error"]) for row in rows)
    lines = []
    for (stage, error), count in kinds.most_common(_REASONS):
        example = next(row for row in rows if (row["stage"], row["error"]) == (stage, error))
        message = example["message"][:_MESSAGE_LENGTH]
        lines.append(f"{count} x {stage} {error}, such as {example['uri']}: {message}")
    return lines


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All results of a run.

    Attributes:
        snapshot: the output at the start of the run.
        counts: the counts of planning.
        written: parts of embeddings and failures.
        rewritten: old parts that were written again.
        lists: the lists that were read.
        changes: parts of the log of changes.
        notes: what there is to tell about the inputs.
    """

    snapshot: Snapshot
    counts: Counts
    written: Sequence[Part]
    rewritten: Sequence[Rewrite]
    lists: Sequence[ListState] = ()
    changes: Sequence[Part] = ()
    notes: Sequence[Note] = ()


def run_record(job: Job, outcome: Outcome) -> RunRecord:
    """The record of a run, with its counts, seconds and devices."""
    totals = outcome.counts.totals
    touched: Counter[Counted] = Counter()  # only the version changed, not the content
    for rewrite in outcome.rewritten:
        touched.update(rewrite.touched)
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
        "listed": totals["listed"],
        "new": totals["new"] - touched["new"],
        "changed": totals["changed"] - touched["changed"],
        "unchanged": totals["unchanged"] + touched.total(),
        "deleted": totals["deleted"],
        "embedded": embedded,
        "failed": sum(part.rows for part in outcome.written if part.kind == FAILURES),
        "resumed": totals["resumed"],
        "copied": sum(part.copied for part in outcome.written),
        "encoder_loads": len(loads),
        "computed_on": sorted({load.computes_on for load in loads}),
        "seconds": round(seconds, 3),
        "images_per_second": round(embedded / seconds, 3) if seconds > 0 else 0.0,
        "notes": note_lines(outcome.notes),
    }


def check_run(job: Job, outcome: Outcome, record: RunRecord) -> None:
    """Raise JobError if counts, listings, deletions or failures forbid a commit of the run."""
    listed, failed = record["listed"], record["failed"]
    accounted = record["unchanged"] + record["resumed"] + record["embedded"] + failed
    if listed != accounted:
        raise JobError(
            f"{listed} images were listed but {accounted} are accounted for; nothing was "
            "committed. Please report this"
        )
    options = job.options
    if not options.allow_empty:
        _check_listings(job, outcome.counts)
    if not options.allow_deletes and listed:
        _check_deletions(outcome.counts)
    if failed and (failed == listed or failed > options.max_failure_ratio * listed):
        raise JobError(
            f"{failed} of {listed} images failed, more than --max-failure-ratio "
            f"{options.max_failure_ratio:g} allows; nothing was committed. {_reasons(job, outcome)}"
        )


def _check_listings(job: Job, counts: Counts) -> None:
    if not counts.totals["listed"]:
        texts = ", ".join(each.text for each in job.inputs)
        raise JobError(f"no image was found in {texts}; pass --allow-empty if that is right")
    for each in job.inputs:
        gone = counts.gone_from[each.text]
        if gone and not counts.listed_by[each.text]:
            raise JobError(
                f"--input {each.text} lists no image, but the output has {gone} from there; pass "
                "--allow-empty to delete their rows"
            )


def _check_deletions(counts: Counts) -> None:
    deleted = counts.totals["deleted"]
    known = counts.totals["listed"] - counts.totals["new"] + deleted
    if deleted > known / 2:
        raise JobError(
            f"{deleted:,} of the {known:,} known images are gone from the inputs, more than half; "
            "nothing was committed. Pass --allow-deletes if that is right; what this run embedded "
            "is kept for then"
        )


def _reasons(job: Job, outcome: Outcome) -> str:
    parts = [part for part in outcome.written if part.kind == FAILURES]
    return "Reasons: " + "; ".join(failure_reasons(job.output, parts))
