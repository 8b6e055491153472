"""Summarize a dataset: rows, parts, sizes, failures by reason, runs, files not in the manifest."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.terminal import console, say
from pipeline.dataset.files import not_named, own_files
from pipeline.dataset.layout import final, is_of_upkeep, is_part, output_folder, record_name
from pipeline.dataset.manifest import (
    EncoderState,
    RunRecord,
    is_lost,
    no_manifest,
    read_manifest,
    read_record,
    unreadable,
)
from pipeline.options import count_text, size_text
from pipeline.records import EMBEDDINGS, FAILURES
from pipeline.upkeep.failed_runs import FailedRun, read_failed_runs
from pipeline.upkeep.submissions import Submitted, ask, read_submissions

_RUNS_SHOWN = 20
_REASONS_SHOWN = 20
_LOOKS = 500  # files that are opened to count their rows, at most
_LONG_ID = 32  # characters
_Count = Literal["embedded", "unchanged", "resumed", "deleted", "failed"]
_COUNTS: tuple[_Count, ...] = get_args(_Count)


class Reason(NamedTuple):
    """A reason why images failed.

    Attributes:
        encoder_id: the encoder's id.
        stage, error: as in the failure rows.
        images: the number of images that failed for this reason.
        uri, message: those of one of these images.
    """

    encoder_id: str
    stage: str
    error: str
    images: int
    uri: str
    message: str


class Run(NamedTuple):
    """A committed run, and its record; None if that can't be read, and why not."""

    run_id: str
    record: RunRecord | None
    problem: str = ""


class Status(NamedTuple):
    """A summary of a dataset.

    Attributes:
        output: the dataset's folder.
        encoders: the live files of each encoder.
        reasons: the reasons of failures, for each encoder the most frequent first.
        runs: the committed runs, oldest first.
        left_files: number of files that the manifest does not name.
        left_bytes: the size of these files.
        waiting: number of images that runs have embedded without committing; None if there are too
            many files to look into.
        submitted: jobs on Dataflow that have not committed their run, and how they go.
        failed: runs that failed, the latest last; see failed_since_commit.
    """

    output: str
    encoders: list[EncoderState]
    reasons: list[Reason]
    runs: list[Run]
    left_files: int
    left_bytes: int
    waiting: int | None = 0
    submitted: Sequence[Submitted] = ()
    failed: Sequence[FailedRun] = ()


def read_status(output: str | os.PathLike[str]) -> Status:
    """Read a dataset's manifest, failures and run records, but no vectors.

    Args:
        output: the ``--output`` of the job, local or gs://.

    Raises:
        InputError: there is no dataset, and no run has begun to make one.
        JobError: its manifest or a part with failures is damaged.
    """
    place = output_folder(output)
    manifest, version = read_manifest(place)
    files = own_files(place)
    left = not_named(files, manifest)
    parts = [info.path for info in left if _waits(info.path)]
    jobs = read_submissions(place, manifest.runs)
    failed = read_failed_runs(place, files)
    if version is None and not jobs and (not (parts or failed) or is_lost(place)):
        raise InputError(no_manifest(place))
    states = list(manifest.encoders.values())
    return Status(
        place,
        states,
        [reason for state in states for reason in _reasons(place, state)],
        [_run(place, run) for run in manifest.runs],
        len(left),
        sum(info.bytes for info in left),
        _rows(place, parts) if len(parts) <= _LOOKS else None,
        ask(jobs),
        failed,
    )


def last_commit(status: Status) -> str | None:
    """When the last run committed (ISO 8601, UTC); None if none has, or no record says it."""
    times = [run.record["finished"] for run in status.runs if run.record is not None]
    return max(times, default=None)


def failed_since_commit(status: Status) -> list[FailedRun]:
    """The runs that have failed since the last commit, the latest last."""
    last = last_commit(status) or ""
    return [run for run in status.failed if run["finished"] > last]


def _waits(path: str) -> bool:
    return final(path).startswith(f"{EMBEDDINGS}/") and is_part(path) and not is_of_upkeep(path)


def _rows(output: str, parts: list[str]) -> int:
    if not parts:
        return 0
    from pipeline.dataset.part_files import UNREADABLE, opened

    rows = 0
    for path in parts:
        try:
            with opened(output, path) as file:
                rows += file.metadata.num_rows
        except UNREADABLE:
            continue  # half written, or gone
    return rows


def print_status(status: Status) -> None:
    """Print a status as tables."""
    shown_on = console()
    say(f"dataset {status.output}")
    waiting = "some images" if status.waiting is None else count_text(status.waiting, "image")
    _say_failures(failed_since_commit(status))
    if not status.runs:
        if status.submitted:
            say(f"no run has committed yet; {waiting} are finished")
        else:
            say(
                f"no run has committed yet; {waiting} finished by an interrupted run wait for it: "
                "start it again"
            )
        _print_submitted(status)
        return
    shown_on.print(_encoder_table(status))
    shown_on.print(_facts_table(status))
    if status.reasons:
        say("failures")
        shown_on.print(_reason_table(status))
    say("runs")
    shown_on.print(_run_table(status))
    earlier = len(status.runs) - _RUNS_SHOWN
    if earlier > 0:
        say(f"and {count_text(earlier, 'earlier run')} in {status.output}/runs/")
    _print_submitted(status)
    if status.waiting != 0:
        say(f"{waiting} embedded by runs that did not commit wait for a run that lists them")
    if status.left_files:
        say(
            f"{count_text(status.left_files, 'file')} ({size_text(status.left_bytes)}) not in the "
            "manifest: a run goes on, or did not commit"
        )


def _print_submitted(status: Status) -> None:
    for job, state, detail in status.submitted:
        say(
            f"run {job.run_id}: its job on Dataflow is {state}{f': {detail}' if detail else ''}; "
            f"submitted {job.submitted[:16].replace('T', ' ')}, {job.console}"
        )


def _say_failures(failed: Sequence[FailedRun]) -> None:
    if not failed:
        return
    last = failed[-1]
    when = last["finished"][:16].replace("T", " ")
    say(
        f"{count_text(len(failed), 'run')} failed since the last commit; the last one, "
        f"{last['run_id']}, at {when} (UTC) with exit code {last['exit_code']}: {last['error']}"
    )


def status_json(status: Status) -> dict[str, object]:
    """A status for programs, as docs/contracts.md describes it."""
    return {
        "output": status.output,
        "encoders": [
            {
                "id": state.spec.id,
                "spec": json.loads(state.spec.to_json()),
                "embeddings": sum(part.rows for part in state.of_kind(EMBEDDINGS)),
                "failures": sum(part.rows for part in state.of_kind(FAILURES)),
                "parts": len(state.parts),
                "bytes": sum(part.bytes for part in state.parts),
            }
            for state in status.encoders
        ],
        "reasons": [reason._asdict() for reason in status.reasons],
        "runs": [run._asdict() for run in status.runs],
        "submitted": [
            {
                **msgspec.structs.asdict(each.job),
                "console": each.job.console,
                "state": each.state,
                "detail": each.detail,
            }
            for each in status.submitted
        ],
        "failed_runs": list(status.failed),
        "waiting": status.waiting,
        "left_files": status.left_files,
        "left_bytes": status.left_bytes,
    }


def encoder_facts(spec: EncoderSpec) -> str:
    """What an encoder was made from and how, in one line; settings at their defaults are left out.

    Args:
        spec: the encoder's spec.
    """
    layers = f"layer{'s' if len(spec.layers) > 1 else ''} {', '.join(spec.layers)}"
    pooling = f"{spec.pooling} {spec.gem_p:g}" if spec.gem_p is not None else spec.pooling
    facts = [
        spec.source,
        layers,
        f"pooling {pooling}",
        *(["unit length"] if spec.normalize else []),
        f"preprocess {spec.preprocess}",
        f"input {spec.height}x{spec.width}x{spec.channels}",
    ]
    for name, found, usual in (
        ("resize", spec.resize, "bilinear"),
        ("fit", spec.fit, "stretch"),
        ("decode", spec.decode, "exact"),
        ("background", ",".join(map(str, spec.background)), "0,0,0"),
        ("precision", spec.precision, "float32"),
    ):
        if found != usual:
            facts.append(f"{name} {found}")
    return "; ".join(facts)


def _reasons(output: str, state: EncoderState) -> list[Reason]:
    parts = state.of_kind(FAILURES)
    if not parts:
        return []
    from pipeline.dataset.part_files import UNREADABLE, read_batches

    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], tuple[str, str]] = {}
    for part in parts:
        try:
            for table in read_batches(output, part.path, ["uri", "stage", "error", "message"]):
                for row in table.to_pylist():
                    kind = (row["stage"], row["error"])
                    counts[kind] += 1
                    examples.setdefault(kind, (row["uri"], row["message"]))
        except UNREADABLE as error:
            raise unreadable(part.path, error) from error
    return [
        Reason(state.spec.id, *kind, count, *examples[kind]) for kind, count in counts.most_common()
    ]


def _run(output: str, run_id: str) -> Run:
    try:
        return Run(run_id, read_record(output, run_id))
    except FileNotFoundError:
        return Run(run_id, None, "its record is missing")
    except (OSError, ValueError) as error:
        return Run(run_id, None, f"its record {record_name(run_id)} is damaged: {error}")


def _encoder_table(status: Status) -> Table:
    table = _table("encoder", "values*", "images*", "failures*", "parts*", "size*")
    for state in status.encoders:
        rows = sum(part.rows for part in state.of_kind(EMBEDDINGS))
        failures = sum(part.rows for part in state.of_kind(FAILURES))
        size = sum(part.bytes for part in state.parts)
        numbers = (state.spec.dim, rows, failures, len(state.parts))
        table.add_row(state.spec.id, *(f"{number:,}" for number in numbers), size_text(size))
    return table


def _facts_table(status: Status) -> Table:
    table = _table("encoder", "made from")
    table.columns[0].no_wrap = True
    for state in status.encoders:
        table.add_row(state.spec.id, encoder_facts(state.spec))
    return table


def _reason_table(status: Status) -> Table:
    several = len(status.encoders) > 1
    names = (*(("encoder",) if several else ()), "stage", "error", "images*", "such as")
    table = _table(*names)
    for reason in status.reasons[:_REASONS_SHOWN]:
        first = (reason.encoder_id,) if several else ()
        example = f"{reason.uri}: {reason.message}"
        table.add_row(*first, reason.stage, reason.error, f"{reason.images:,}", example)
    return table


def _run_table(status: Status) -> Table:
    table = _table("run", "started (UTC)", "seconds*", "listed*", "of which")
    # So that people can copy an id, unless a long one leaves no room for the rest.
    table.columns[0].no_wrap = all(len(run) <= _LONG_ID for run, *_ in status.runs[-_RUNS_SHOWN:])
    for run_id, record, problem in status.runs[-_RUNS_SHOWN:]:
        if record is None:
            table.add_row(run_id, "", "", "", problem)
            continue
        counts = [f"{record[name]:,} {name}" for name in _COUNTS if record[name]]
        table.add_row(
            run_id,
            record["started"][:16].replace("T", " "),
            f"{record['seconds']:,.1f}",
            f"{record['listed']:,}",
            ", ".join(counts),
        )
    return table


def _table(*columns: str) -> Table:
    """An empty table with columns of these names. A star marks columns of numbers.

    On a narrow terminal only ids and the last column are folded, unless that one has numbers.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        numeric = name.endswith("*")
        table.add_column(
            name.removesuffix("*"),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or name not in (columns[0], columns[-1]),
        )
    return table
