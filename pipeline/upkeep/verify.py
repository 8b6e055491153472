"""Check a whole dataset: manifest, files, rows, run records."""

from __future__ import annotations

import dataclasses
import os

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.storage.base import FileInfo
from encoder.storage.registry import store_for
from pipeline.dataset.files import is_log, links_in, not_named, own_files
from pipeline.dataset.layout import (
    MANIFEST,
    full_path,
    manifest_path,
    output_folder,
    record_name,
    run_of,
)
from pipeline.dataset.manifest import (
    EncoderState,
    Manifest,
    is_lost,
    no_manifest,
    read_manifest,
    read_record,
    salvaged_manifest,
)
from pipeline.dataset.named_uris import check_uris
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


@dataclasses.dataclass
class CheckedEncoder:
    """One encoder's live files, after the check.

    Attributes:
        state: as the manifest lists it.
        parts: all parts of the encoder.
        extra_columns: the extra columns that its embeddings should have.
        lost_lists: lists whose uris can't be read.
    """

    state: EncoderState
    parts: list[CheckedPart]
    extra_columns: pa.Schema = NO_COLUMNS
    lost_lists: list[ListState] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Examination:
    """The result of checking a dataset.

    Attributes:
        output: the dataset's folder.
        manifest: the checked manifest; if rebuilt is true, it was made from the files.
        version: the version of the file manifest.json; None if there is none.
        rebuilt: whether the manifest could not be read.
        links: symbolic links, which repair removes.
        encoders: the live files of each encoder, after the check.
        lost_runs: runs whose records can't be used.
        lost_logs: logs of changes that can't be read.
        findings: everything that was found, to be printed.
    """

    output: str
    manifest: Manifest
    version: str | None
    rebuilt: bool
    links: list[str] = dataclasses.field(default_factory=list)
    encoders: list[CheckedEncoder] = dataclasses.field(default_factory=list)
    lost_runs: list[str] = dataclasses.field(default_factory=list)
    lost_logs: list[str] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)


def verify(output: str | os.PathLike[str]) -> list[Finding]:
    """Check a dataset: the manifest, every value in every live part, lists and run records.

    Parts are read one after the other. Memory holds one file, and 8 bytes for every row.

    Args:
        output: the ``--output`` of the job, local or gs://.

    Returns:
        What is wrong, and notes, which are for information only.

    Raises:
        InputError: there is no dataset.
        JobError: a run has committed meanwhile.
    """
    return examine(output_folder(output)).findings


def examine(output: str) -> Examination:
    """Like verify, but returns all that a repair needs."""
    files = own_files(output)
    examination = _begin(output, files)
    examination.links = links_in(output)
    for link in examination.links:
        target = os.readlink(os.path.join(output, link))
        fix = "the link is removed; what it leads to is left alone"
        found = Finding(link, f"is a symbolic link to {target!r}", "a file or folder", fix)
        examination.findings.append(found)
    for state in examination.manifest.encoders.values():
        examination.encoders.append(_check_encoder(examination, state, files))
    examination.findings += _check_records(examination)
    for info in files:
        if is_log(info.path) and run_of(info.path) in examination.manifest.runs:
            problem = _problem(output, info.path)
            if problem is not None:
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
            try:
                return _salvaged(output, version, files)
            except JobError:
                pass  # no single entries are wrong
            found = str(error).removeprefix(f"{path} ").partition("; restore")[0]
    elif is_lost(output):
        found = "is missing"
    else:
        raise InputError(no_manifest(output))
    manifest = rebuild(output, files)
    parts = count_text(sum(len(state.parts) for state in manifest.encoders.values()), "part")
    fix = f"rebuilt from {parts} and {count_text(len(manifest.runs), 'run record')}"
    finding = Finding(MANIFEST, found, "the manifest of a dataset", fix)
    return Examination(output, manifest, version, rebuilt=True, findings=[finding])


def _salvaged(output: str, version: str | None, files: list[FileInfo]) -> Examination:
    """Begin with a manifest without those entries that lead out of the dataset.

    Where such an entry was to name live rows, all parts that are there count instead.

    Raises:
        JobError: the manifest is damaged in another way.
    """
    manifest, misplaced = salvaged_manifest(output)
    fix = "left out; nothing outside the dataset is touched. Parts that are there stay"
    expected = "files of this dataset"
    findings = [Finding(MANIFEST, str(each), expected, fix) for each in misplaced]
    lacking = {each.encoder_id for each in misplaced if each.is_live}
    if lacking:
        encoders = dict(manifest.encoders)
        for name, there in rebuild(output, files).encoders.items():
            if name not in lacking:
                continue
            state = encoders.get(name, there)
            known = {part.path for part in state.parts} | set(manifest.removed)
            more = [part for part in there.parts if part.path not in known]
            if name not in encoders:
                state = dataclasses.replace(state, parts=())
                more = [part for part in there.parts if part.path not in manifest.removed]
            encoders[name] = dataclasses.replace(state, parts=(*state.parts, *more))
        manifest = dataclasses.replace(manifest, encoders=encoders)
    return Examination(output, manifest, version, rebuilt=False, findings=findings)


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
        if problem is not None:
            found.lost_lists.append(each)
            fix = "forgotten; rows of images that the list does not name any more stay"
            findings.append(
                Finding(each.uris_path, problem, f"the uris that {each.list_uri} named", fix)
            )
    return found


def _problem(output: str, relative: str) -> str | None:
    """Why the uris in a file can't be read; None if they can."""
    try:
        path = full_path(output, relative)
        if store_for(path).stat(path) is None:
            return "is missing"
        with store_for(path).open(path) as file:
            opened = pq.ParquetFile(file, page_checksum_verification=True)
            check_uris(opened)
            for _ in opened.iter_batches(columns=["uri"]):
                pass
    except UNREADABLE as error:
        return f"can't be read ({' '.join(str(error).split())})"
    return None


def _check_records(examination: Examination) -> list[Finding]:
    findings = []
    for run in examination.manifest.runs:
        problem = _record_problem(examination.output, run)
        if problem:
            examination.lost_runs.append(run)
            fix = "the run is taken out of the history; its rows stay"
            findings.append(Finding(record_name(run), *problem, fix))
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
    except (OSError, ValueError) as error:
        return f"can't be read ({error})", "the record of a run"
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
            None,
            "a run goes on or did not commit; what it finished waits for a run that lists the same "
            "images",
            note=True,
        )
        for folder, group in sorted(groups.items())
    ]
