"""The record of a run, and the checks that it has to pass before it is committed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from encoder.printable import cut
from pipeline.dataset.manifest import RunRecord
from pipeline.dataset.manifest_file import MeasureEntry, Phase
from pipeline.dataset.parts import read_part
from pipeline.errors import JobError
from pipeline.inputs.uris import readable
from pipeline.measures import Distribution, Work
from pipeline.records import (
    EMBEDDINGS,
    FAILURES,
    Counted,
    Counts,
    ListState,
    Load,
    Note,
    Part,
    Rewrite,
)
from pipeline.runs.job import Job, job_id, versions
from pipeline.runs.notes import note_lines
from pipeline.runs.snapshot import Snapshot

_REASONS = 5
_MESSAGE_LENGTH = 200


def failure_reasons(output: str, parts: Sequence[Part]) -> list[str]:
    """The most frequent reasons, each with one example."""
    kinds: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], dict[str, str]] = {}
    for part in parts:
        for row in read_part(output, part.path).to_pylist():
            kind = row["stage"], row["error"]
            kinds[kind] += 1
            examples.setdefault(kind, row)
    lines = []
    for (stage, error), count in kinds.most_common(_REASONS):
        example = examples[stage, error]
        message = cut(example["message"], _MESSAGE_LENGTH)
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
        taken: waiting parts that become live, merged where there are many.
        lists: the lists that were read.
        changes: parts of the log of changes.
        notes: what there is to tell about the inputs.
        rows: number of rows of all lists that were read.
        work: the measures of reading, embedding and writing; None if there was nothing to do.
    """

    snapshot: Snapshot
    counts: Counts
    written: Sequence[Part]
    rewritten: Sequence[Rewrite]
    taken: Sequence[Part] = ()
    lists: Sequence[ListState] = ()
    changes: Sequence[Part] = ()
    notes: Sequence[Note] = ()
    rows: int = 0
    work: Work | None = None


def run_record(job: Job, outcome: Outcome) -> RunRecord:
    """The record of a run, with its counts, seconds and devices."""
    totals = outcome.counts.totals
    touched: Counter[Counted] = Counter()  # only the version changed, not the content
    found = 0  # only the content changed, not the version
    for rewrite in outcome.rewritten:
        touched.update(rewrite.touched)
        found += rewrite.found
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
        "changed": totals["changed"] - touched["changed"] + found,
        "unchanged": totals["unchanged"] + touched.total() - found,
        "deleted": totals["deleted"],
        "embedded": embedded,
        "failed": sum(part.rows for part in outcome.written if part.kind == FAILURES),
        "resumed": totals["resumed"],
        "copied": sum(part.copied for part in outcome.written),
        "renewed": totals["renewed"],
        "rows": outcome.rows,
        "repeated": totals["repeated"],
        "encoder_loads": len(loads),
        "computed_on": sorted({load.computes_on for load in loads}),
        "seconds": round(seconds, 3),
        "images_per_second": round(embedded / seconds, 3) if seconds > 0 else 0.0,
        "notes": note_lines(outcome.notes),
        "failures_by_reason": _by_reason(outcome.written),
        "phases": _phases(job, outcome.work, finished),
        "measures": _measures(outcome.work, loads),
        "versions": versions(),
        "runner": job.runner,
        "job_id": job_id(job.runner),
    }


def _by_reason(parts: Iterable[Part]) -> dict[str, int]:
    """Numbers of failures by stage and error, such as "decode DecodeError", most frequent first."""
    counts: Counter[str] = Counter()
    for part in parts:
        for stage, error, count in part.reasons:
            counts[f"{stage} {error}"] += count
    return dict(counts.most_common())


def _phases(job: Job, work: Work | None, finished: datetime) -> dict[Phase, float]:
    """Seconds of each phase, by the clocks of the machines that worked; their sum is the run's."""
    end = finished.timestamp()
    start = min(datetime.fromisoformat(job.started).timestamp(), end)
    began = min(max(work.began if work else end, start), end)
    ended = min(max(work.ended if work else began, began), end)
    return {
        "plan": round(began - start, 3),
        "embed": round(ended - began, 3),
        "commit": round(end - ended, 3),
    }


def _measures(work: Work | None, loads: Iterable[Load]) -> dict[str, MeasureEntry]:
    values = dict(work.values) if work else {}
    seconds = [load.seconds for load in loads]
    if seconds:  # also those of a worker whose bundle was tried again
        values["load_ms"] = Distribution(len(seconds), 1000 * sum(seconds), 1000 * max(seconds))
    return {
        name: {"count": each.count, "sum": _number(each.sum), "max": _number(each.max)}
        for name, each in values.items()
    }


def _number(value: float) -> float:
    """The value to three digits after the point; whole numbers without any."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def check_run(job: Job, outcome: Outcome, record: RunRecord) -> None:
    """Raise JobError if counts, listings, deletions or failures forbid a commit of the run."""
    listed, failed = record["listed"], record["failed"]
    accounted = record["unchanged"] + record["resumed"] + record["embedded"] + failed
    if listed != accounted:
        raise JobError(
            f"{listed} images were listed but {accounted} are accounted for; nothing was "
            "committed. Please report this"
        )
    check_listing(job, outcome.counts, outcome.notes)
    if _are_too_many(job, failed, listed):
        raise _too_many_failures(job, failed, listed, _reasons(job, outcome))


def check_plan(job: Job, counts: Counts, notes: Iterable[Note]) -> None:
    """Raise JobError if what planning found forbids a commit, whatever becomes of the images."""
    check_listing(job, counts, notes)
    listed = counts.totals["listed"]
    if _are_too_many(job, counts.failing, listed):
        raise _too_many_failures(job, counts.failing, listed, "Planning alone has found these")


def check_listing(job: Job, counts: Counts, notes: Iterable[Note]) -> None:
    """Raise JobError if what the inputs list forbids a commit: nothing, or far less than before.

    The comparison is with committed rows alone, so that it holds as often as it is made.
    """
    if not job.options.allow_empty:
        _check_listings(job, counts, note_lines(notes))
    if not job.options.allow_deletes and counts.totals["listed"]:
        _check_deletions(counts)


def _are_too_many(job: Job, failed: int, listed: int) -> bool:
    return bool(failed) and (failed == listed or failed > job.options.max_failure_ratio * listed)


def _too_many_failures(job: Job, failed: int, listed: int, reasons: str) -> JobError:
    if failed == listed:
        found = (
            f"{failed:,} of {listed:,} images failed; a run in which every image fails is never "
            "committed"
        )
    else:
        ratio = job.options.max_failure_ratio
        found = (
            f"{failed:,} of {listed:,} images failed, more than --max-failure-ratio {ratio:g} "
            "allows; nothing was committed"
        )
    return JobError(f"{found}. {reasons}")


def _check_listings(job: Job, counts: Counts, notes: list[str]) -> None:
    if not counts.totals["listed"]:
        texts = ", ".join(each.text for each in job.inputs)
        hints = "".join(f". {each}" for each in notes)
        raise JobError(f"no image was found in {texts}; pass --allow-empty if that is right{hints}")
    for each in job.inputs:
        gone = counts.gone_from[each.text]
        if gone and not counts.listed_by[each.text]:
            raise JobError(
                f"--input {each.text} lists no image, but the output has {gone} from there; pass "
                "--allow-empty to delete their rows"
            )


def _check_deletions(counts: Counts) -> None:
    if counts.lost > counts.known / 2:
        raise JobError(
            f"{counts.lost:,} of the {counts.known:,} known images are gone from the inputs, "
            "more than half; nothing was committed. Pass --allow-deletes if that is right; what "
            "this run embedded is kept for then"
        )


def _reasons(job: Job, outcome: Outcome) -> str:
    parts = [part for part in outcome.written if part.kind == FAILURES]
    return "Reasons: " + "; ".join(failure_reasons(job.output, parts))
