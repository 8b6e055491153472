"""The manifest, which lists the files of a dataset's current state, and the run records. No Arrow.

``manifest.json`` is written last, and only if nobody else has written it since it was read, so a
run is committed whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TypedDict

import msgspec

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.storage.registry import store_for
from encoder.strict_json import parse_json
from pipeline.dataset.layout import (
    MANIFEST,
    RUNS,
    STAGING,
    final,
    full_folder,
    is_failed_record,
    is_staged,
    manifest_path,
    own_file,
    record_name,
    record_path,
    relative_path,
    staged,
)
from pipeline.dataset.manifest_file import (
    FORMAT,
    Count,
    EncoderEntry,
    EncoderId,
    InputEntry,
    ManifestFile,
    Measure,
    MeasureEntry,
    MeasureName,
    Misplaced,
    PartEntry,
    Phase,
    RunId,
    Time,
    parse,
    parse_time,
    take_out_misplaced,
)
from pipeline.errors import JobError
from pipeline.records import (
    EMBEDDINGS,
    FAILURES,
    Kind,
    KnownInput,
    ListState,
    Part,
)


class _LaterFields(TypedDict, total=False):
    """Fields that the records of early versions lack."""

    copied: Count
    computed_on: list[str]
    renewed: Count
    rows: Count
    repeated: Count
    notes: list[str]
    failures_by_reason: dict[str, Count]
    phases: dict[Phase, Measure]
    measures: dict[MeasureName, MeasureEntry]
    versions: dict[str, str]
    runner: str
    job_id: str


class RunRecord(_LaterFields):
    """The record of a run, as ``runs/<run_id>.json`` holds it; see docs/contracts.md."""

    run_id: RunId
    encoder_id: EncoderId
    started: Time
    finished: Time
    inputs: list[str]
    listed: Count
    new: Count
    changed: Count
    unchanged: Count
    deleted: Count
    embedded: Count
    failed: Count
    resumed: Count
    encoder_loads: Count
    seconds: Measure
    images_per_second: Measure


@dataclasses.dataclass(frozen=True)
class EncoderState:
    """The live files of one encoder.

    Attributes:
        spec: the encoder's spec, as in the bundle.
        parts: the parts with the encoder's rows.
        lists: the lists that runs have read, with the uris that they named.
        inputs: the other inputs of the runs.
    """

    spec: EncoderSpec
    parts: tuple[Part, ...] = ()
    lists: tuple[ListState, ...] = ()
    inputs: tuple[KnownInput, ...] = ()

    def of_kind(self, kind: Kind) -> list[Part]:
        """The live parts of one kind, EMBEDDINGS or FAILURES."""
        return [part for part in self.parts if part.kind == kind]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files that make up the current state of a dataset, the live files.

    Attributes:
        runs: the committed runs, oldest first: run id -> token of the launch that committed it.
        encoders: encoder id -> the encoder's live files.
        removed: files that the last commit made useless; its clean-up may have missed some.
        upkeep: the command that wrote this state; None if a run wrote it.
        publishing: final paths of the parts that the last commit made live; some may still wait in
            the staging folder.
    """

    runs: dict[str, str] = dataclasses.field(default_factory=dict)
    encoders: dict[str, EncoderState] = dataclasses.field(default_factory=dict)
    removed: tuple[str, ...] = ()
    upkeep: str | None = None
    publishing: tuple[str, ...] = ()

    def live_files(self) -> set[str]:
        """The paths of all live parts and files of uris, relative to the output.

        A part that waits to be moved is at its path in the staging folder, its final path, or both.
        """
        return {
            path
            for state in self.encoders.values()
            for path in (
                *(part.path for part in state.parts),
                *(final(part.path) for part in state.parts),
                *(each.uris_path for each in state.lists),
            )
        }

    def named_files(self) -> set[str]:
        """The live files, and the records of the committed runs."""
        return self.live_files() | {record_name(run) for run in self.runs}

    def removable(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those of the paths that are neither live nor records of committed runs, in order."""
        return tuple(sorted(set(paths) - self.named_files() - {MANIFEST}))

    def committing(
        self, run_id: str, token: str, state: EncoderState, removed: set[str]
    ) -> Manifest:
        """The manifest after one more run."""
        new = Manifest({**self.runs, run_id: token}, {**self.encoders, state.spec.id: state})
        return dataclasses.replace(new, removed=new.removable(removed))

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        encoders = {
            name: EncoderEntry(
                spec=json.loads(state.spec.to_json()),
                embeddings=_entries(state.of_kind(EMBEDDINGS)),
                failures=_entries(state.of_kind(FAILURES)),
                lists={each.list_uri: each.uris_path for each in state.lists},
                inputs=[InputEntry(*each) for each in state.inputs],
            )
            for name, state in sorted(self.encoders.items())
        }
        waiting = (final(path) for path in self.live_files() if is_staged(path))
        file = ManifestFile(
            FORMAT, self.runs, encoders, list(self.removed), self.upkeep or "", sorted(waiting)
        )
        return json.dumps(msgspec.to_builtins(file), indent=1)

    @classmethod
    def from_json(cls, text: bytes, path: str) -> Manifest:
        """Parse a manifest.

        Args:
            text: content of the file.
            path: the file's path, for the error.

        Raises:
            JobError: the file is damaged, has another format, a value has another type or is out
                of its range, or a path is none of a dataset.
        """
        manifest, misplaced = cls.salvaged(text, path)
        if misplaced:
            more = f", and {len(misplaced) - 1:,} more such entries" if len(misplaced) > 1 else ""
            raise _damaged(path, f"{misplaced[0]}, which is not of this dataset{more}")
        return manifest

    @classmethod
    def salvaged(cls, text: bytes, path: str) -> tuple[Manifest, Sequence[Misplaced]]:
        """Like from_json, without the entries that lead somewhere else; and those entries."""
        try:
            file = parse(text)
            misplaced = take_out_misplaced(file)
            encoders = {name: _state(entry) for name, entry in file.encoders.items()}
        except (ValueError, msgspec.ValidationError, RecursionError) as error:
            raise _damaged(path, str(error)) from error
        removed, publishing = tuple(file.removed), tuple(file.publishing)
        return cls(file.runs, encoders, removed, file.upkeep or None, publishing), misplaced


def _damaged(path: str, found: str) -> JobError:
    return JobError(
        f"{path} is damaged ({found}); restore it from a backup, or have it rebuilt with "
        "'python -m pipeline verify OUTPUT --repair'"
    )


def read_manifest(output: str) -> tuple[Manifest, str | None]:
    """The manifest and its version; an empty manifest and None if there is none yet.

    Parts that still wait in the staging folder, since a commit was killed, have their paths there.

    Raises:
        JobError: the manifest is damaged.
    """
    path = manifest_path(output)
    store = store_for(path)
    if store.stat(path) is None:
        return Manifest(), None
    data, info = store.read(path)
    return _located(output, Manifest.from_json(data, path)), info.version


def salvaged_manifest(output: str) -> tuple[Manifest, Sequence[Misplaced]]:
    """The manifest without the entries that lead somewhere else; and those entries.

    Raises:
        FileNotFoundError: there is none.
        JobError: it is damaged in another way.
    """
    path = manifest_path(output)
    manifest, misplaced = Manifest.salvaged(store_for(path).read(path)[0], path)
    return _located(output, manifest), misplaced


def _located(output: str, manifest: Manifest) -> Manifest:
    """The manifest with the paths at which the files of its parts are now."""
    if not manifest.publishing:
        return manifest
    folder = full_folder(output, STAGING)
    there = {relative_path(output, info.path) for info in store_for(folder).list_files(folder)}
    waiting = {path for path in manifest.publishing if staged(path) in there}
    encoders = {
        name: dataclasses.replace(
            state,
            parts=tuple(
                part._replace(path=staged(part.path)) if part.path in waiting else part
                for part in state.parts
            ),
        )
        for name, state in manifest.encoders.items()
    }
    return dataclasses.replace(manifest, encoders=encoders)


def existing_manifest(output: str) -> tuple[Manifest, str]:
    """The manifest and its version.

    Raises:
        InputError: there is no manifest.
        JobError: the manifest is damaged.
    """
    manifest, version = read_manifest(output)
    if version is None:
        raise InputError(no_manifest(output))
    return manifest, version


def is_lost(output: str) -> bool:
    """Whether a dataset without a manifest had one: it has records of runs, and published parts."""
    runs, embeddings = (full_folder(output, folder) for folder in (RUNS, EMBEDDINGS))
    if not (store_for(embeddings).is_folder(embeddings) and _has_files(embeddings)):
        return False
    if not store_for(runs).is_folder(runs):
        return False
    files = (relative_path(output, info.path) for info in store_for(runs).list_files(runs))
    return any(not is_failed_record(path) for path in files)


def no_manifest(output: str) -> str:
    """What to say of an output without a manifest."""
    if is_lost(output):
        return (
            f"{output!r} has lost its manifest.json; restore it from a backup, or let 'python -m "
            "pipeline verify OUTPUT --repair' make it again"
        )
    if any(_has_files(full_folder(output, folder)) for folder in (STAGING, EMBEDDINGS)):
        return (
            f"{output!r} is no dataset yet: no run has committed to it. What an interrupted run "
            "has finished waits there; start the run again"
        )
    return f"{output!r} is not a dataset: it has no manifest.json"


def _has_files(folder: str) -> bool:
    return next(iter(store_for(folder).list_files(folder)), None) is not None


def write_manifest(output: str, manifest: Manifest, expected: str | None) -> None:
    """Replace the manifest, if it still has the expected version; None expects no manifest.

    Raises:
        ChangedError: another run has committed.
    """
    path = manifest_path(output)
    store_for(path).write_if(path, manifest.to_json().encode(), expected)


def unreadable(part: str, error: Exception) -> JobError:
    """The error for a live part that can't be read."""
    return JobError(
        f"{part} in the output can't be read ({error}). If another run has just ended, start this "
        "one again. Restore it from a backup, or let 'python -m pipeline verify OUTPUT --repair' "
        "take it out"
    )


def removed_meanwhile(path: str) -> JobError:
    """The error for a file of the output that another run has removed while this one worked."""
    return JobError(
        f"{path} in the output is gone: another run has committed to it while this one worked, so "
        "this one was not committed. No work is lost: start it again, and it takes over the "
        "finished parts"
    )


def read_record(output: str, run_id: str) -> RunRecord:
    """The record of a committed run.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or a value has another type.
    """
    path = record_path(output, run_id)
    values = parse_json(store_for(path).read(path)[0], names=True)
    try:
        record = msgspec.convert(values, RunRecord)
        for time in (record["started"], record["finished"]):
            parse_time(time)
        return record
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error


def stray_records(output: str, manifest: Manifest) -> list[str]:
    """Paths, relative to the output, of the run records that the manifest does not name."""
    folder = full_folder(output, RUNS)
    known = {record_name(run) for run in manifest.runs}
    found = (relative_path(output, info.path) for info in store_for(folder).list_files(folder))
    return [
        path
        for path in found
        if own_file(path) is not None and not is_failed_record(path) and path not in known
    ]


def _entries(parts: Iterable[Part]) -> list[PartEntry]:
    """The entries of parts, in order of their paths."""
    return sorted(
        (PartEntry(final(part.path), part.rows, part.bytes, part.crc32c or "") for part in parts),
        key=lambda entry: entry.path,
    )


def _state(entry: EncoderEntry) -> EncoderState:
    return EncoderState(
        EncoderSpec.from_values(entry.spec),
        (*_parts(EMBEDDINGS, entry.embeddings), *_parts(FAILURES, entry.failures)),
        tuple(ListState(list_uri, path) for list_uri, path in entry.lists.items()),
        tuple(KnownInput(**msgspec.structs.asdict(each)) for each in entry.inputs),
    )


def _parts(kind: Kind, entries: Iterable[PartEntry]) -> Iterable[Part]:
    for entry in entries:
        yield Part(kind, entry.path, entry.rows, entry.bytes, crc32c=entry.crc32c or None)
