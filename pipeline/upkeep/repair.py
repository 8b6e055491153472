"""Repair a dataset: remove damaged parts and rows, which the next run makes again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from pipeline.dataset.files import make_live, remove_links
from pipeline.dataset.layout import REPAIR, new_upkeep_id, output_folder, record_name
from pipeline.dataset.manifest import EncoderState, Manifest
from pipeline.dataset.part_files import PartStream, read_batches
from pipeline.dataset.parts import PartWriter
from pipeline.dataset.schema import NO_COLUMNS, schema_of
from pipeline.records import EMBEDDINGS, Part
from pipeline.upkeep.checks import CheckedPart, Finding
from pipeline.upkeep.verify import CheckedEncoder, Examination, examine


def repair(output: str | os.PathLike[str]) -> list[Finding]:
    """Check a dataset, remove whatever is wrong, and return the findings.

    Damaged live parts are removed. Parts with wrong rows are written again without these. A
    damaged or missing manifest is rebuilt from the files. A reader sees the old state or the new
    one, and a killed repair can be started again.

    Args:
        output: the ``--output`` of the job, local or gs://.

    Raises:
        InputError: there is no dataset.
        JobError: a run has committed meanwhile; nothing is changed.
    """
    examination = examine(output_folder(output))
    if any(not finding.note for finding in examination.findings):
        _repair(examination)
    return examination.findings


def _repair(examination: Examination) -> None:
    output, old = examination.output, examination.manifest
    run_id = new_upkeep_id(REPAIR)
    removed = {record_name(run) for run in examination.lost_runs} | {*examination.lost_logs}
    written: list[str] = []
    encoders: dict[str, EncoderState] = {}
    for found in examination.encoders:
        parts = []
        for each in found.parts:
            if each.is_right:
                parts.append(each.part)
                continue
            removed.add(each.part.path)
            part = None if each.lost else _rewrite(output, run_id, found, each)
            if part is not None:
                parts.append(part)
                written.append(part.path)
        removed |= {each.uris_path for each in found.lost_lists}
        lists = tuple(each for each in found.state.lists if each not in found.lost_lists)
        state = found.state
        encoders[state.spec.id] = dataclasses.replace(state, parts=tuple(parts), lists=lists)
    runs = {run: token for run, token in old.runs.items() if run not in examination.lost_runs}
    new = Manifest(runs, encoders, old.removed)
    behind = [path for path in removed if _is_behind(path, examination.links)]
    make_live(output, REPAIR, new, examination.version, removed - {*behind}, written)
    remove_links(output, examination.links)


def _is_behind(path: str, links: Sequence[str]) -> bool:
    """Whether a path is that of a symbolic link, or leads through one."""
    return any(path == link or path.startswith(f"{link}/") for link in links)


def _rewrite(output: str, run_id: str, found: CheckedEncoder, checked: CheckedPart) -> Part | None:
    """Write a part again without the rows to remove, and with the columns of all parts.

    Returns None if no row is left.
    """
    part, spec = checked.part, found.state.spec
    extra_columns = found.extra_columns if part.kind == EMBEDDINGS else NO_COLUMNS
    writer = PartWriter(output, run_id, spec, extra_columns)
    stream = PartStream(part.kind, schema_of(part.kind, spec, extra_columns))
    first = 0
    for table in read_batches(output, part.path):
        keep = [number not in checked.cut for number in range(first, first + len(table))]
        first += len(table)
        stream.add(writer.conform(part.kind, table).filter(keep))
    return stream.write(output, spec.id, run_id)
