"""The records of runs, ``runs/<run_id>.json``. No Arrow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypedDict

import msgspec

from encoder.storage.base import join
from encoder.storage.registry import store_for
from pipeline.dataset.layout import RUNS, record_path


class _LaterFields(TypedDict, total=False):
    """Fields that the records of early versions lack."""

    copied: int
    computed_on: list[str]
    renewed: int
    rows: int
    repeated: int
    notes: list[str]


class RunRecord(_LaterFields):
    """The record of a run, as ``runs/<run_id>.json`` holds it; see docs/contracts.md."""

    run_id: str
    encoder_id: str
    started: str
    finished: str
    inputs: list[str]
    listed: int
    new: int
    changed: int
    unchanged: int
    deleted: int
    embedded: int
    failed: int
    resumed: int
    encoder_loads: int
    seconds: float
    images_per_second: float


def read_record(output: str, run_id: str) -> RunRecord:
    """The record of a committed run.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or a value has another type.
    """
    path = record_path(output, run_id)
    values = json.loads(store_for(path).read(path)[0])
    try:
        return msgspec.convert(values, RunRecord)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def stray_records(output: str, runs: Iterable[str]) -> list[str]:
    """Full paths of the records of other runs than these."""
    folder = join(output, RUNS)
    known = {record_path(output, run) for run in runs}
    return [info.path for info in store_for(folder).list_files(folder) if info.path not in known]
