"""Check everything that a dataset consists of: its manifest, its files, its rows, its records."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.storage.base import FileInfo, join
from encoder.storage.registry import store_for
from pipeline.dataset.files import RUNS, is_log, not_named, own_files
from pipeline.dataset.layout import manifest_path, output_folder, run_of
from pipeline.dataset.manifest import EncoderState, Manifest, read_manifest, read_record
from pipeline.dataset.part_files import UNREADABLE
from pipeline.dataset.schema import NO_COLUMNS
from pipeline.errors import JobError
from pipeline.options import count_text, size_text
from pipeline.records import ListState
from pipeline.upkeep.checks import (
    CheckedPart,
    Finding,
    check_columns,
    check_duplicates,
    check_part,
)
from pipeline.upkeep.rebuild import rebuild

Say = Callable[[str], None]


@dataclasses.dataclass
class CheckedEncoder:
    """What was found of one encoder's live files.

    Attributes:
        state: as the manifest has it.
        parts: all of its parts.
        extra_columns: the columns that its embeddings should carry.
        lost_lists: lists whose uris can't be read.
    """

    state: EncoderState
    parts: list[CheckedPart]
    extra_columns: pa.Schema = NO_COLUMNS
    lost_lists: list[ListState] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Examination:
    """A dataset, looked at from all sides.

    Attributes:
        output: of the dataset.
        manifest: that was looked at; made from the files where rebuilt is true.
        version: of the file manifest.json; None where there is none.
        rebuilt: whether there was no manifest that could be read.
        encoders: what was found of each.
        lost_runs: whose records can't be used.
        lost_logs: of changes, that can't be read.
        findings: all of it, for people.
    """

    output: str
    manifest: Manifest
    version: str | None
    rebuilt: bool
    encoders: list[CheckedEncoder] = dataclasses.field(default_factory=list)
    lost_runs: list[str] = dataclasses.field(default_factory=list)
    lost_logs: list[str] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)


def verify(output: str | os.PathLike[str]) -> list[Finding]:
    """Check a dataset: the manifest, every live part to its last value, lists and run records.

    Parts are read one after the other; in memory are one file, and eight bytes for every row.

    Args:
        output: the ``--output`` of the job, local or gs://.

    Returns:
        What is wrong, and notes of what is only worth knowing.

    Raises:
        InputError: there is no dataset.
        JobError: a run has committed meanwhile.
    """
    return examine(output_folder(output)).findings


def examine(output: str) -> Examination:
    """What verify does, with all that a repair needs to know. See verify."""
    files = own_files(output)
    examination = _begin(output, files)
    for state in examination.manifest.encoders.values():
        examination.encoders.append(_check_encoder(examination, state, files))
    examination.findings += _check_records(examination)
    for info in files:
        if is_log(info.path) and run_of(info.path) in examination.manifest.runs:
            problem = _problem(output, info.path)
            if problem:
                examination.lost_logs.append(info.path)
                fix = "removed; 'changes' does not know what that run did"
                finding = Finding(info.path, problem, "the log of what a run changed", fix)
                examination.findings.append(finding)
    examination.findings += _notes(examination, files)
    if _version(output) != examination.version:
        raise JobError(
            "a run or another command has changed the output while it was checked; start it again"
        )
    return examination


def _begin(output: str, files: list[FileInfo]) -> Examination:
    path = manifest_path(output)
    version = _version(output)
    if version is not None:
        try:
            manifest, version = read_manifest(output)
            return Examination(output, manifest, version, rebuilt=False)
        except JobError as error:
            found = str(error).removeprefix(f"{path} ").partition("; restore")[0]
    elif files:
        found = "is missing"
    else:
        raise InputError(f"{output!r} is not a dataset: it has no manifest.json")
    manifest = rebuild(output, files)
    parts = count_text(sum(len(state.parts) for state in manifest.encoders.values()), "part")
    fix = f"rebuilt from {parts} and {count_text(len(manifest.runs), 'run record')}"
    finding = Finding("manifest.json", found, "the manifest of a dataset", fix)
    return Examination(output, manifest, version, rebuilt=True, findings=[finding])


def _version(output: str) -> str | None:
    path = manifest_path(output)
    info = store_for(path).stat(path)
    return info.version if info else None


def _check_encoder(
    examination: Examination, state: EncoderState, files: list[FileInfo]
) -> CheckedEncoder:
    there = {info.path for info in files}
    output, findings = examination.output, examination.findings
    found = CheckedEncoder(state, [])
    for part in state.parts:
        checked, problems = check_part(output, state, part, part.path in there)
        found.parts.append(checked)
        findings += problems
    found.extra_columns, problems = check_columns(found.parts)
    findings += problems + check_duplicates(output, state.spec, found.parts)
    for each in state.lists:
        problem = _problem(output, each.uris_path)
        if problem:
            found.lost_lists.append(each)
            fix = "forgotten; rows of images that the list does not name any more stay"
            findings.append(
                Finding(each.uris_path, problem, f"the uris that {each.list_uri} named", fix)
            )
    return found


def _problem(output: str, relative: str) -> str:
    """Why the uris in a file can't be read; "" if they can."""
    path = join(output, relative)
    if store_for(path).stat(path) is None:
        return "is missing"
    try:
        with store_for(path).open(path) as file:
            opened = pq.ParquetFile(file, page_checksum_verification=True)
            for _ in opened.iter_batches(columns=["uri"]):
                pass
    except UNREADABLE as error:
        return f"can't be read ({' '.join(str(error).split())})"
    return ""


def _check_records(examination: Examination) -> list[Finding]:
    findings = []
    for run in examination.manifest.runs:
        problem = _record_problem(examination.output, run)
        if problem:
            examination.lost_runs.append(run)
            fix = "the run is taken out of the history; its rows stay"
            findings.append(Finding(f"{RUNS}/{run}.json", *problem, fix))
    return findings


def _record_problem(output: str, run: str) -> tuple[str, str] | None:
    try:
        record = read_record(output, run)
        listed = record["listed"]
        counts = [record[name] for name in ("unchanged", "resumed", "embedded", "failed")]
        if record["run_id"] != run:
            return f"is the record of run {record['run_id']}", f"that of {run}"
        if listed != sum(counts):
            text = " + ".join(map(str, counts))
            return (
                f"listed is {listed}, but unchanged + resumed + embedded + failed is {text}",
                "counts that add up",
            )
    except FileNotFoundError:
        return "is missing", "the record of a committed run"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"can't be read ({type(error).__name__}: {error})", "the record of a run"
    return None


def _notes(examination: Examination, files: list[FileInfo]) -> list[Finding]:
    left = not_named(files, examination.manifest)
    groups: dict[str, list[FileInfo]] = {}
    for info in left:
        groups.setdefault(info.path.rpartition("/")[0], []).append(info)
    return [
        Finding(
            folder,
            f"{count_text(len(group), 'file')} ({size_text(sum(i.bytes for i in group))}) that "
            "the manifest does not name",
            "",
            "a run has died or goes on; the next run takes over or removes what is left",
            note=True,
        )
        for folder, group in sorted(groups.items())
    ]
