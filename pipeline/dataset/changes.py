"""What runs changed: which images came, changed and went, for those who feed an index with it.

Every run writes what it did to each uri; a row of the log is a uri and one of KINDS. What several
runs did is folded into one row per uri.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, Literal, NamedTuple, TextIO, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.storage.base import join
from encoder.storage.registry import store_for
from pipeline.dataset.layout import encoder_folder
from pipeline.dataset.manifest import read_manifest
from pipeline.records import CHANGES

ChangeKind = Literal["added", "changed", "removed"]
ADDED: Final = "added"
CHANGED: Final = "changed"
REMOVED: Final = "removed"
KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
LOG = pa.schema(
    [pa.field("uri", pa.string(), nullable=False), pa.field("change", pa.string(), nullable=False)]
)

# What steps report about a uri while a run goes on: it had an embedding that is gone or replaced;
# it has a new one; it keeps the old one after all; the listing carries other values.
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
    """The change that a uri went through in one run; None for none.

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
    """The change that two changes of one uri amount to; None for none."""
    if not earlier or not later:
        return earlier or later
    if earlier == ADDED:
        return None if later == REMOVED else ADDED
    if earlier == REMOVED and later == ADDED:
        return CHANGED
    return later


def changes_since(output: str, run_id: str, encoder: str | None = None) -> Iterator[Change]:
    """What committed runs after a given one did, in the order of uris.

    Args:
        output: of the dataset.
        run_id: of the last run that is not of interest; "" for all runs.
        encoder: an encoder's id; may be left out where the dataset has only one.

    Raises:
        InputError: there is no such dataset, encoder or run.
    """
    manifest, version = read_manifest(output)
    if version is None:
        raise InputError(f"{output!r} is not a dataset: it has no manifest.json")
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
    total: dict[str, ChangeKind | None] = {}
    for path in _logs(output, encoder or names[0], later):
        with store_for(path).open(path) as file:
            table = pq.ParquetFile(file, page_checksum_verification=True).read()
        for row in table.to_pylist():
            total[row["uri"]] = folded(total.get(row["uri"]), row["change"])
    for uri in sorted(total):
        if (change := total[uri]) is not None:
            yield Change(uri, change)


def write_json_lines(changes: Iterable[Change], file: TextIO) -> None:
    """One object a line."""
    for each in changes:
        file.write(json.dumps(each._asdict(), ensure_ascii=False) + "\n")


def write_parquet(changes: Iterable[Change], file: BinaryIO) -> None:
    """A Parquet file with the columns of LOG."""
    rows: dict[str, list[str]] = {"uri": [], "change": []}
    for each in changes:
        rows["uri"].append(each.uri)
        rows["change"].append(each.change)
    pq.write_table(pa.table(rows, schema=LOG), file, compression="zstd")


def _logs(output: str, encoder_id: str, runs: list[str]) -> Iterator[str]:
    """Paths of the logs, run by run; within a run each uri is in one of them."""
    folder = join(output, encoder_folder(CHANGES, encoder_id))
    for run_id in runs:
        inside = join(folder, f"run={run_id}")
        if store_for(inside).is_folder(inside):
            yield from sorted(info.path for info in store_for(inside).list_files(inside))
