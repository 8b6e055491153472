"""Remove the rows of all images below a folder, which need not exist any more."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from encoder.errors import InputError
from encoder.storage.base import FILE_PREFIX
from encoder.storage.registry import normalize, store_for
from pipeline.dataset.changes import REMOVED, Change
from pipeline.dataset.files import make_live
from pipeline.dataset.layout import PRUNE, new_upkeep_id, output_folder, record_name, record_path
from pipeline.dataset.manifest import EncoderState, RunRecord, existing_manifest, unreadable
from pipeline.dataset.part_files import UNREADABLE, PartStream, read_batches
from pipeline.dataset.parts import PartWriter
from pipeline.dataset.schema import NO_COLUMNS, extra_columns_of, schema_of
from pipeline.records import EMBEDDINGS, Part

_TOKEN = "upkeep"


class PrunedUris(NamedTuple):
    """The rows that are removed.

    Attributes:
        embeddings, failures: their numbers, over all encoders.
        parts: number of parts that are written again or go.
    """

    embeddings: int
    failures: int
    parts: int


def prune_uris(output: str | os.PathLike[str], prefix: str, dry_run: bool = False) -> PrunedUris:
    """Remove the rows of all images below a folder, for all encoders, and forget inputs there.

    The record and the log of changes of this command are like those of a run, so that
    ``changes`` knows of the removed rows.

    Args:
        output: the ``--output`` of the job, local or gs://.
        prefix: a folder or archive, which need not exist, or one image. With a star at its end, it
            is the beginning of uris instead.
        dry_run: change nothing, only return what would be removed.

    Raises:
        InputError: there is no dataset, or the prefix is no path.
        JobError: a part is damaged, or a run has committed meanwhile; nothing is changed.
    """
    place = output_folder(output)
    manifest, version = existing_manifest(place)
    below = _below(prefix)
    began = datetime.now(timezone.utc)
    encoders, runs = dict(manifest.encoders), dict(manifest.runs)
    rows: Counter[str] = Counter()
    removed: set[str] = set()
    written: list[str] = []
    for name, state in manifest.encoders.items():
        run_id = new_upkeep_id(PRUNE)
        found = _Rewriting(place, state, run_id, below, dry_run)
        parts = [found.without(part) for part in state.parts]
        rows += found.rows
        removed |= found.removed
        written += found.written
        encoders[name] = dataclasses.replace(
            state,
            parts=tuple(part for part in parts if part is not None),
            lists=tuple(each for each in state.lists if not below(each.list_uri)),
            inputs=tuple(each for each in state.inputs if not below(each.base)),
        )
        if found.rows and not dry_run:
            found.log_changes()
            record = _record(run_id, name, began, sum(found.rows.values()), prefix)
            path = record_path(place, run_id)
            store_for(path).write(path, json.dumps(record, indent=2).encode() + b"\n")
            written.append(record_name(run_id))
            runs[run_id] = _TOKEN
    if not dry_run:
        new = dataclasses.replace(manifest, encoders=encoders, runs=runs)
        make_live(place, PRUNE, new, version, removed, written)
    return PrunedUris(rows[EMBEDDINGS], rows.total() - rows[EMBEDDINGS], len(removed))


def _below(prefix: str) -> Callable[[str], bool]:
    if not prefix.strip("*/ "):
        raise InputError(f"--uri-prefix {prefix!r} names no folder; it would remove every row")
    if prefix.endswith("*"):
        start = prefix[:-1]
        return lambda uri: uri.startswith(start)
    try:
        place = normalize(prefix)
    except InputError as error:
        raise InputError(f"--uri-prefix {error}") from error
    # A name that is not UTF-8 is percent-encoded; see pipeline.inputs.uris.
    starts = tuple(f"{form}{end}" for form in (place, FILE_PREFIX + place) for end in "/#")
    return lambda uri: uri == place or uri.startswith(starts)


class _Rewriting:
    """Writes parts of one encoder again, without the rows of some uris.

    Attributes:
        rows: number of removed rows by kind.
        removed: paths of the parts that are no longer needed.
        written: paths of the parts that replace them.
    """

    def __init__(
        self,
        output: str,
        state: EncoderState,
        run_id: str,
        below: Callable[[str], bool],
        dry_run: bool,
    ) -> None:
        self._output, self._state, self._run_id = output, state, run_id
        self._below, self._dry_run = below, dry_run
        self._extra = extra_columns_of(output, state)
        self._uris: list[str] = []
        self.rows: Counter[str] = Counter()
        self.removed: set[str] = set()
        self.written: list[str] = []

    def without(self, part: Part) -> Part | None:
        """The part that replaces another one, or the same; None if no row is left."""
        try:
            gone = {
                uri
                for table in read_batches(self._output, part.path, ["uri"])
                for uri in table.column("uri").to_pylist()
                if self._below(uri)
            }
            if not gone:
                return part
            self.rows[part.kind] += len(gone)
            self.removed.add(part.path)
            if self._dry_run:
                return part
            if part.kind == EMBEDDINGS:
                self._uris += gone
            new = self._written(part, gone)
        except UNREADABLE as error:
            raise unreadable(part.path, error) from error
        if new is not None:
            self.written.append(new.path)
        return new

    def log_changes(self) -> None:
        """Write the log of removed embeddings."""
        if self._uris:
            changes = [Change(uri, REMOVED) for uri in sorted(self._uris)]
            writer = PartWriter(self._output, self._run_id, self._state.spec)
            self.written.append(writer.write_changes(changes).path)

    def _written(self, part: Part, gone: set[str]) -> Part | None:
        spec = self._state.spec
        extra = self._extra if part.kind == EMBEDDINGS else NO_COLUMNS
        stream = PartStream(part.kind, schema_of(part.kind, spec, extra))
        for table in read_batches(self._output, part.path):
            keep = [uri not in gone for uri in table.column("uri").to_pylist()]
            stream.add(table.filter(keep))
        return stream.write(self._output, spec.id, self._run_id)


def _record(run_id: str, encoder_id: str, began: datetime, deleted: int, prefix: str) -> RunRecord:
    finished = datetime.now(timezone.utc)
    return {
        "run_id": run_id,
        "encoder_id": encoder_id,
        "started": began.isoformat(timespec="milliseconds"),
        "finished": finished.isoformat(timespec="milliseconds"),
        "inputs": [],
        "listed": 0,
        "new": 0,
        "changed": 0,
        "unchanged": 0,
        "deleted": deleted,
        "embedded": 0,
        "failed": 0,
        "resumed": 0,
        "encoder_loads": 0,
        "seconds": round((finished - began).total_seconds(), 3),
        "images_per_second": 0.0,
        "notes": [f"prune --uri-prefix {prefix}"],
    }
