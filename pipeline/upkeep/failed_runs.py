"""Records of runs that failed: ``runs/failed/<run_id>.json``. They are history, and nothing else.

No command takes rows over because of such a record, or counts its run as committed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Annotated, TypedDict

import msgspec

from encoder.errors import InputError
from encoder.printable import cut
from encoder.storage.base import FileInfo
from encoder.storage.registry import store_for
from encoder.strict_json import parse_json
from encoder.terminal import exit_code
from pipeline.dataset.files import files_below
from pipeline.dataset.layout import (
    encoder_folder,
    failed_record_name,
    full_path,
    is_failed_record,
    run_of,
    staged,
)
from pipeline.dataset.manifest_file import Count, EncoderId, Measure, RunId, Time, parse_time
from pipeline.logs import run_logger
from pipeline.records import EMBEDDINGS

_ERROR_LENGTH = 2000  # characters
_MOST_BYTES = 1 << 20  # of a record, which this module never exceeds
_LOOKS = 200  # records that are read at most: those of the newest names
_LOG = run_logger(__name__)


class FailedRun(TypedDict):
    """The record of a run that failed.

    ``waiting_parts`` and ``waiting_bytes`` are what it has finished; a later run takes it over.
    """

    run_id: RunId
    encoder_id: EncoderId
    started: Time
    finished: Time
    seconds: Measure
    inputs: list[str]
    error: str
    error_type: str
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)]
    waiting_parts: Count
    waiting_bytes: Count
    versions: dict[str, str]
    runner: str


class Start(TypedDict):
    """What is known of a run before it starts; see FailedRun."""

    run_id: str
    encoder_id: str
    started: str
    inputs: list[str]
    versions: dict[str, str]
    runner: str


@contextlib.contextmanager
def failure_recorded(output: str, start: Start) -> Iterator[None]:
    """Write a record into the output if the block fails. The error is raised on.

    A wrong command line (InputError) is no run, and leaves no record. If the record can't be
    written, that is logged: the first error is what people need.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        try:
            _write(output, start, error)
        except Exception as second:  # whatever a store raises: the disk may be full, or gone
            _LOG.warning("the failure can't be recorded in the output: %s", second)
        raise


def read_failed_runs(output: str, files: Iterable[FileInfo]) -> list[FailedRun]:
    """The failed runs, the latest last. Records that are damaged are left out.

    Args:
        output: the dataset's folder.
        files: its files, with paths relative to the output.
    """
    names = [info.path for info in files if is_failed_record(info.path)]
    found = (_read(output, name) for name in sorted(names)[-_LOOKS:])
    return sorted((run for run in found if run), key=lambda run: run["finished"])


def _read(output: str, name: str) -> FailedRun | None:
    path = full_path(output, name)
    try:
        values = parse_json(store_for(path).read(path, most=_MOST_BYTES)[0], names=True)
        run = msgspec.convert(values, FailedRun)
        for time in (run["started"], run["finished"]):
            parse_time(time)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        _LOG.warning("%s is damaged: %s", name, error)
        return None
    return run if failed_record_name(run["run_id"]) == name else None


def _write(output: str, start: Start, error: BaseException) -> None:
    folder = staged(encoder_folder(EMBEDDINGS, start["encoder_id"]))
    parts = [each for each in files_below(output, folder) if run_of(each.path) == start["run_id"]]
    finished = datetime.now(timezone.utc)
    seconds = (finished - datetime.fromisoformat(start["started"])).total_seconds()
    run = FailedRun(
        run_id=start["run_id"],
        encoder_id=start["encoder_id"],
        started=start["started"],
        finished=finished.isoformat(timespec="milliseconds"),
        seconds=round(max(seconds, 0.0), 3),
        inputs=start["inputs"],
        error=cut(str(error) or "interrupted", _ERROR_LENGTH),
        error_type=type(error).__name__,
        exit_code=exit_code(error),
        waiting_parts=len(parts),
        waiting_bytes=sum(each.bytes for each in parts),
        versions=start["versions"],
        runner=start["runner"],
    )
    path = full_path(output, failed_record_name(start["run_id"]))
    store_for(path).write(path, json.dumps(run, indent=2).encode() + b"\n")
