"""A dataset's status as metrics, for Prometheus and whatever reads its format.

The text is valid OpenMetrics, and also valid in the older format of Prometheus, which the textfile
collector of node_exporter and the Pushgateway read: all metrics are gauges, without times of their
own, since these programs refuse a file with times or with types that they do not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from encoder.printable import escaped
from pipeline.dataset.layout import is_upkeep_id
from pipeline.dataset.manifest import RunRecord
from pipeline.dataset.manifest_file import parse_time
from pipeline.records import EMBEDDINGS, FAILURES
from pipeline.upkeep.status import Status, failed_since_commit, last_commit

PREFIX = "image_embeddings"
_UNITS = ("seconds", "bytes")
_COUNTS = (
    *("listed", "new", "changed", "unchanged", "deleted", "embedded"),
    *("failed", "resumed", "copied", "renewed", "repeated"),
)
HELP = {
    "rows": "Embeddings of the last committed state.",
    "failures": "Images of the last committed state that could not be embedded, by reason.",
    "parts": "Live files of embeddings and failures.",
    "size_bytes": "Size of the live files.",
    "waiting_images": "Images embedded by runs that did not commit.",
    "left_files": "Files that the manifest does not name.",
    "left_bytes": "Size of the files that the manifest does not name.",
    "runs": "Committed runs in the history.",
    "last_commit_timestamp_seconds": "When the last run committed, since the epoch; 0 if unknown.",
    "failed_runs": "Runs that failed since the last commit.",
    "last_failure_timestamp_seconds": "When the last of these runs failed, since the epoch.",
    "last_failure_exit_code": "Exit code of the last of these runs.",
    "last_run_images": "Images of the encoder's last committed run, by what became of them.",
    "last_run_failures": "Failures of that run, by stage and error.",
    "last_run_duration_seconds": "Time that the run took.",
    "last_run_phase_seconds": "Time of each phase of the run.",
    "last_run_encoder_loads": "Loads of the encoder that took part in the run.",
    "last_run_measure_seconds": "Times measured in the run: the sum over all workers, the longest.",
    "last_run_measure_bytes": "Sizes measured in the run: the sum over all workers, the largest.",
    "last_run_measure": "Numbers measured in the run: the sum over all workers, the largest.",
    "last_run_measurements": "How many values each measure of the run has.",
    "last_run_version": "1 for each package and its version in the run.",
}
_MS, _BYTES = "_ms", "_bytes"


class _Sample(NamedTuple):
    """One line: the metric's name without prefix, its labels, its value."""

    name: str
    labels: dict[str, str]
    value: float


def open_metrics(status: Status) -> list[str]:
    """The lines of a status, with EOF as the last one.

    Every sample has the label ``dataset``, so that files of several datasets can lie side by side.
    """
    samples = [*_of_dataset(status), *_of_last_runs(status)]
    lines = []
    for name, what in HELP.items():
        own = [sample for sample in samples if sample.name == name]
        if not own:
            continue
        full = f"{PREFIX}_{name}"
        lines.append(f"# TYPE {full} gauge")
        unit = name.rpartition("_")[2]
        if unit in _UNITS:
            lines.append(f"# UNIT {full} {unit}")
        lines.append(f"# HELP {full} {what}")
        series: dict[str, float] = {}  # a series that occurs twice would make the file invalid
        for sample in own:
            labels = {"dataset": status.output, **sample.labels}
            text = ",".join(f'{key}="{_quoted(value)}"' for key, value in labels.items())
            series[text] = round(sample.value, 6)
        lines += [f"{full}{{{text}}} {value}" for text, value in series.items()]
    return [*lines, "# EOF"]


def _of_dataset(status: Status) -> Iterator[_Sample]:
    for state in status.encoders:
        encoder = {"encoder": state.spec.id}
        yield _Sample("rows", encoder, sum(part.rows for part in state.of_kind(EMBEDDINGS)))
        yield _Sample("parts", encoder, len(state.parts))
        yield _Sample("size_bytes", encoder, sum(part.bytes for part in state.parts))
        if not state.of_kind(FAILURES):
            yield _Sample("failures", {**encoder, "stage": "", "error": ""}, 0)
    for reason in status.reasons:
        labels = {"encoder": reason.encoder_id, "stage": reason.stage, "error": reason.error}
        yield _Sample("failures", labels, reason.images)
    if status.waiting is not None:
        yield _Sample("waiting_images", {}, status.waiting)
    yield _Sample("left_files", {}, status.left_files)
    yield _Sample("left_bytes", {}, status.left_bytes)
    yield _Sample("runs", {}, len(status.runs))
    last = last_commit(status)
    yield _Sample("last_commit_timestamp_seconds", {}, parse_time(last).timestamp() if last else 0)
    failed = failed_since_commit(status)
    yield _Sample("failed_runs", {}, len(failed))
    if failed:
        when = parse_time(failed[-1]["finished"]).timestamp()
        yield _Sample("last_failure_timestamp_seconds", {}, when)
        yield _Sample("last_failure_exit_code", {}, failed[-1]["exit_code"])


def _of_last_runs(status: Status) -> Iterator[_Sample]:
    """The samples of each encoder's last run, of those that are still in the dataset."""
    last = {
        run.record["encoder_id"]: run.record
        for run in status.runs
        if run.record is not None and not is_upkeep_id(run.run_id)
    }
    for state in status.encoders:
        if state.spec.id in last:
            yield from _of_run(last[state.spec.id])


def _of_run(record: RunRecord) -> Iterator[_Sample]:
    encoder = {"encoder": record["encoder_id"]}
    for name in _COUNTS:
        yield _Sample("last_run_images", {**encoder, "outcome": name}, int(record.get(name, 0)))  # type: ignore[call-overload]
    for reason, count in record.get("failures_by_reason", {}).items():
        stage, _, error = reason.partition(" ")
        yield _Sample("last_run_failures", {**encoder, "stage": stage, "error": error}, count)
    yield _Sample("last_run_duration_seconds", encoder, record["seconds"])
    for phase, seconds in record.get("phases", {}).items():
        yield _Sample("last_run_phase_seconds", {**encoder, "phase": phase}, seconds)
    yield _Sample("last_run_encoder_loads", encoder, record["encoder_loads"])
    for name, found in record.get("measures", {}).items():
        family, measure, factor = "last_run_measure", name, 1
        if name.endswith(_MS):
            family, measure, factor = f"{family}_seconds", name.removesuffix(_MS), 1000
        elif name.endswith(_BYTES):
            family, measure = f"{family}_bytes", name.removesuffix(_BYTES)
        labels = {**encoder, "measure": measure}
        yield _Sample(family, {**labels, "stat": "sum"}, found["sum"] / factor)
        yield _Sample(family, {**labels, "stat": "max"}, found["max"] / factor)
        yield _Sample("last_run_measurements", {**encoder, "measure": name}, found["count"])
    for package, version in record.get("versions", {}).items():
        yield _Sample("last_run_version", {**encoder, "package": package, "version": version}, 1)


def _quoted(value: str) -> str:
    text = escaped(value).encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", r"\\").replace('"', r"\"")
