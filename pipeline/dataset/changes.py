"""The log of changes: which images runs have added, changed and removed.

Every run writes a log with one row per uri that it changed: the uri and a ChangeKind. The logs of
several runs are folded into one change per uri, to update an index, for instance.
"""

from __future__ import annotations

import heapq
import itertools
import operator
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final, Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.printable import json_text
from encoder.storage.registry import store_for
from pipeline.dataset.layout import encoder_folder, full_folder, full_path, is_part, relative_path
from pipeline.dataset.manifest import no_manifest, read_manifest, unreadable
from pipeline.records import CHANGES

ChangeKind = Literal["added", "changed", "removed"]
ADDED: Final = "added"
CHANGED: Final = "changed"
REMOVED: Final = "removed"
_BATCH_ROWS = 4096
_LOGS_AT_ONCE = 64  # are open while they are combined
_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
LOG = pa.schema(
    [pa.field("uri", pa.string(), nullable=False), pa.field("change", pa.string(), nullable=False)]
)

# What steps report about a uri during a run.
# HAD: its old embedding is removed or replaced. HAS: it has a new embedding.
# SAME: it keeps its old embedding after all. RENEWED: its carried values have changed.
Seen = Literal["had", "has", "same", "renewed"]
HAD: Final = "had"
HAS: Final = "has"
SAME: Final = "same"
RENEWED: Final = "renewed"


class Change(NamedTuple):
    """A uri whose row was added, changed or removed."""

    uri: str
    change: ChangeKind


def kind_of(seen: Iterable[Seen]) -> ChangeKind | None:
    """The change of a uri in one run; None if it did not change.

    Args:
        seen: all that steps reported about the uri.
    """
    found = set(seen)
    if not found & {HAS, SAME}:
        return REMOVED if HAD in found else None
    if HAD not in found:
        return ADDED
    return CHANGED if found & {HAS, RENEWED} else None


def folded(earlier: ChangeKind | None, later: ChangeKind | None) -> ChangeKind | None:
    """Combine two successive changes of one uri; None means no change."""
    if not earlier or not later:
        return earlier or later
    if earlier == ADDED:
        return None if later == REMOVED else ADDED
    if earlier == REMOVED and later == ADDED:
        return CHANGED
    return later


def changes_since(output: str, run_id: str | None, encoder: str | None = None) -> Iterator[Change]:
    """The combined changes of all runs that committed after a given one, in order of uris.

    Args:
        output: the dataset's folder.
        run_id: of the last run to leave out; None or "" for all runs.
        encoder: an encoder's id; may be left out if the dataset has only one.

    Raises:
        InputError: there is no such dataset, encoder or run.
        JobError: the manifest or a log is damaged.
    """
    manifest, version = read_manifest(output)
    if version is None:
        raise InputError(no_manifest(output))
    names = sorted(manifest.encoders)
    if (encoder is None and len(names) != 1) or (encoder is not None and encoder not in names):
        raise InputError(f"--encoder is {encoder!r}; the dataset has {', '.join(names) or 'none'}")
    runs = list(manifest.runs)
    if run_id and run_id not in runs:
        raise InputError(
            f"--since {run_id!r}: no such run has committed here; the last ones are "
            f"{', '.join(runs[-5:])}"
        )
    later = runs[runs.index(run_id) + 1 :] if run_id else runs
    yield from _combined(
        [_read_log(output, path) for path in _logs(output, encoder or names[0], later)]
    )


def _combined(logs: Sequence[Iterable[Change]]) -> Iterator[Change]:
    """One change per uri, in order of uris, from logs in that order; the earliest log first.

    A few logs are read at a time. Where there are more, what comes out is kept in temporary files,
    which are then combined the same way.
    """
    if len(logs) > _LOGS_AT_ONCE:
        groups = (
            _kept(_combined(logs[first : first + _LOGS_AT_ONCE]))
            for first in range(0, len(logs), _LOGS_AT_ONCE)
        )
        yield from _combined(list(groups))
        return
    # Of changes with equal uris, those of earlier logs come first.
    merged = heapq.merge(*logs, key=operator.attrgetter("uri"))
    for uri, group in itertools.groupby(merged, key=operator.attrgetter("uri")):
        total: ChangeKind | None = None
        for each in group:
            total = folded(total, each.change)
        if total is not None:
            yield Change(uri, total)


def _kept(changes: Iterator[Change]) -> Iterator[Change]:
    """The same changes, once all of them are in a temporary file."""
    file = tempfile.TemporaryFile(prefix="embed-images-")  # noqa: SIM115 - read later, in _read_kept
    while batch := list(itertools.islice(changes, _BATCH_ROWS)):
        pickle.dump(batch, file)
    return _read_kept(file)


def _read_kept(file: BinaryIO) -> Iterator[Change]:
    with file:
        size = file.tell()
        file.seek(0)
        while file.tell() < size:
            yield from pickle.load(file)


def json_lines(changes: Iterable[Change]) -> Iterator[str]:
    """A JSON object for each change, in one line, with the keys uri and change."""
    for each in changes:
        yield json_text(each._asdict())


def write_parquet(changes: Iterable[Change], file: BinaryIO) -> None:
    """Write a Parquet file with the columns of LOG."""
    rows = iter(changes)
    with pq.ParquetWriter(file, LOG, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            writer.write_table(pa.Table.from_pylist([each._asdict() for each in batch], LOG))


def _logs(output: str, encoder_id: str, runs: list[str]) -> Iterator[str]:
    """Paths of the log files, run by run; within a run each uri is in one file only."""
    for run_id in runs:
        inside = full_folder(output, f"{encoder_folder(CHANGES, encoder_id)}/run={run_id}")
        if store_for(inside).is_folder(inside):
            found = store_for(inside).list_files(inside)
            yield from filter(is_part, sorted(relative_path(output, info.path) for info in found))


def _read_log(output: str, path: str) -> Iterator[Change]:
    full = full_path(output, path)
    before = ""
    try:
        with store_for(full).open(full) as file:
            log = pq.ParquetFile(file, page_checksum_verification=True)
            if log.schema_arrow.remove_metadata() != LOG:
                raise pa.ArrowInvalid(f"it has other columns than {', '.join(LOG.names)}")
            for batch in log.iter_batches(_BATCH_ROWS):
                for uri, change in zip(*(each.to_pylist() for each in batch.columns), strict=True):
                    if change not in _KINDS:
                        raise pa.ArrowInvalid(f"it has the change {change!r}")
                    if uri < before:
                        raise pa.ArrowInvalid(f"{uri!r} comes after {before!r}")
                    before = uri
                    yield Change(uri, change)
    except pa.ArrowException as error:
        raise unreadable(path, error) from error
