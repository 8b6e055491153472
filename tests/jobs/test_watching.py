"""What people and programs see of a run: its measures, its log, its failure."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import apache_beam as beam
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pipeline.launch import runner
from pipeline.measures import MEASURES
from pipeline.steps.outputs import METRICS
from tests.conftest import write_image
from tests.support.dataset import Dataset, dying
from tests.support.gcs.faults import Faults

IMAGES, BAD, TWINS = 40, 3, 2


@pytest.fixture(scope="module")
def watched(small_bundle, tmp_path_factory):
    """A run over images, twins and broken files: dataset, folder, Beam's metrics, the record."""
    base = tmp_path_factory.mktemp("watched")
    folder = base / "images"
    for number in range(IMAGES):
        write_image(folder / f"{number:02}.png", number)
    for number in range(TWINS):
        (folder / f"twin{number}.png").write_bytes((folder / "00.png").read_bytes())
    for number in range(BAD):
        (folder / f"bad{number}.jpg").write_text("no image")
    results, finish = [], runner._finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            runner, "_finish", lambda *words: results.append(finish(*words)) or results[0]
        )
        dataset = Dataset(base / "out", small_bundle)
        dataset.run(folder, options=("--engine", "keras"))
    found = results[0].metrics().query(beam.metrics.MetricsFilter().with_namespace(METRICS))
    return dataset, folder, found, dataset.record()


def test_measures_are_in_the_record(watched):
    dataset, folder, _, record = watched
    measures = record["measures"]
    counts = {name: measure["count"] for name, measure in measures.items()}
    every = IMAGES + TWINS + BAD
    assert counts["read_ms"] == counts["read_bytes"] == counts["decode_ms"] == every
    assert counts["wait_ms"] == counts["ready_images"] == every
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert measures["read_bytes"]["sum"] == sum(sizes)
    assert measures["read_bytes"]["max"] == max(sizes)
    assert measures["batch_images"]["sum"] == IMAGES + TWINS
    assert measures["cache_hits"]["sum"] == TWINS
    parts = [path for path in dataset.folder.rglob("*.parquet") if "embeddings" in str(path)]
    assert counts["write_ms"] == counts["write_bytes"] == len(parts)
    assert measures["write_bytes"]["sum"] == sum(path.stat().st_size for path in parts)
    assert "retries" not in measures, "no bucket takes part"
    for measure in measures.values():
        assert 0 <= measure["max"] <= measure["sum"]


def test_the_load_is_measured_and_is_no_part_of_the_first_call(watched):
    """Beam's own load_model_latency does not see it: the first image loads the encoder."""
    measures = watched[-1]["measures"]
    assert measures["load_ms"]["count"] == 1
    # A small network, in a process that has imported Keras: some ten milliseconds.
    assert measures["load_ms"]["sum"] > 1


def test_phases_and_reasons_add_up(watched):
    record = watched[-1]
    assert list(record["phases"]) == ["plan", "embed", "commit"]
    assert sum(record["phases"].values()) == pytest.approx(record["seconds"], abs=0.01)
    assert all(seconds > 0 for seconds in record["phases"].values())
    assert record["failures_by_reason"] == {"decode UnidentifiedImageError": BAD}
    assert record["failed"] == BAD
    assert record["runner"] == "FnApiRunner"
    assert record["job_id"] == ""
    assert record["versions"]["apache-beam"] == beam.__version__
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_beams_metrics_are_the_same(watched):
    """Updates from threads of our own would be lost without an error."""
    _, _, found, record = watched
    measures = record["measures"]
    beams = {each.key.metric.name: each.result for each in found["distributions"]}
    assert set(beams) == set(measures) <= set(MEASURES)
    for name, measure in measures.items():
        assert beams[name].count == measure["count"], name
        assert beams[name].sum == pytest.approx(measure["sum"], abs=2), name
    counters = {each.key.metric.name: each.result for each in found["counters"]}
    assert counters["failed_decode_UnidentifiedImageError"] == BAD
    assert counters["embeddings_rows"] == IMAGES + TWINS


def test_a_run_with_nothing_to_do(watched):
    dataset, folder, *_ = watched
    dataset.run(folder)
    record = dataset.record()
    assert (record["measures"], record["failures_by_reason"]) == ({}, {})
    assert record["phases"]["embed"] == 0
    assert sum(record["phases"].values()) == pytest.approx(record["seconds"], abs=0.01)


@pytest.mark.slow
def test_repeated_requests_to_a_bucket_are_counted(gcs, small_bundle, images, dataset):
    bucket = gcs.buckets["bucket"]
    for number in range(8):
        data = write_image(images / f"{number}.png", number).read_bytes()
        bucket.put(f"photos/{number}.png", data)
    gcs.faults = Faults(0.5, ["503"], match=lambda kind, name: name.startswith("photos/"))
    dataset.run("gs://bucket/photos")
    assert gcs.faults.injected["503"] > 1
    assert dataset.record()["measures"]["retries"]["sum"] == gcs.faults.injected["503"]


def failed_records(dataset):
    return sorted((dataset.folder / "runs" / "failed").glob("*.json"))


def test_a_failed_run_leaves_a_record(dataset, images):
    """Which is history, and nothing else: the next run takes over what is finished and commits."""
    with dying():
        error = dataset.run(images, options=("--run-id", "night.failed"), code=1)
    (path,) = failed_records(dataset)
    assert path.name == "night.failed.json"
    record = json.loads(path.read_text())
    assert record["error"] in error
    assert (record["exit_code"], record["error_type"]) == (1, "JobError")
    assert record["inputs"] == [str(images)]
    assert record["waiting_parts"] >= 1
    assert record["waiting_bytes"] > 1000
    assert record["seconds"] > 0

    status = dataset.shell("status", dataset.folder).out
    assert "1 run failed since the last commit; the last one, night.failed, at" in status
    assert "5 images finished by an interrupted run wait" in status

    assert (
        dataset.run(images, options=("--run-id", "night.failed"))
        == {
            "listed": 5,
            "new": 5,
            "resumed": 5,
        }
        or dataset.counts()["resumed"] == 5
    )
    status = json.loads(dataset.shell("status", dataset.folder, "--json").out)
    assert [run["run_id"] for run in status["failed_runs"]] == ["night.failed"]
    assert "failed since" not in dataset.shell("status", dataset.folder).out
    assert dataset.shell("verify", dataset.folder).out == f"{dataset.folder} is whole\n"


def test_a_run_that_never_reached_its_output_is_seen_too(dataset, tmp_path):
    (tmp_path / "images").mkdir()
    dataset.run(tmp_path / "images", code=1)
    output = dataset.shell("status", dataset.folder)
    assert output.code == 0
    assert "no image was found" in " ".join(output.out.split())


def test_a_wrong_command_line_is_no_run(dataset, images):
    dataset.run(images, options=("--no_such_option",), code=2)
    dataset.run(images, options=("--direct_num_workers", "many"), code=2)
    assert not failed_records(dataset)


def test_an_interrupted_run_leaves_a_record(dataset, images, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_finish", interrupted)
    dataset.run(images, code=130)
    (path,) = failed_records(dataset)
    assert json.loads(path.read_text())["exit_code"] == 130


def test_a_failure_that_can_not_be_recorded_is_still_the_error(dataset, images, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    with dying(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.upkeep.failed_runs._write", full)
        error = dataset.run(images, code=1)
    assert "killed" in error
    assert "space" not in error


def test_records_of_failed_runs_go_with_old_runs(dataset, images):
    with dying():
        dataset.run(images, code=1)
    dataset.run(images)
    (path,) = failed_records(dataset)
    dataset.shell("prune", dataset.folder, "--runs-older-than", "1h")
    assert path.exists()
    os.utime(path, (0, 0))
    dataset.shell("prune", dataset.folder, "--runs-older-than", "1h")
    assert not path.exists()


def test_a_failed_run_does_not_come_back_with_a_lost_manifest(dataset, images):
    dataset.run(images, options=("--run-id", "good"))
    write_image(images / "new.png", 77)
    with dying():
        dataset.run(images, options=("--run-id", "bad"), code=1)
    (dataset.folder / "manifest.json").unlink()
    dataset.shell("verify", dataset.folder, "--repair")
    assert list(dataset.manifest()["runs"]) == ["good"]


HOSTILE = {
    "empty": b"",
    "no JSON": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "negative": b'"exit_code": -1',
    "time": b'"finished": "9999-99-99T00:00:00Z"',
    "large": b" " * (2 << 20),
}


@pytest.fixture
def failed_once(dataset, images):
    with dying():
        dataset.run(images, options=("--run-id", "real"), code=1)
    return dataset, failed_records(dataset)[0]


def test_hostile_records_of_failed_runs(failed_once):
    dataset, path = failed_once
    text = path.read_bytes()
    assert failed_runs(dataset) == 1
    for kind, content in HOSTILE.items():
        if content.startswith(b'"'):
            key = content.partition(b":")[0]
            content, count = re.subn(rb"%s: [^,]+" % key, content, text)
            assert count == 1
        path.write_bytes(content)
        assert failed_runs(dataset) == 0, kind
    path.write_bytes(text)
    path.with_name("other.json").write_bytes(text)
    assert failed_runs(dataset) == 1, "a record of another run"
    path.unlink()
    path.symlink_to(path.with_name("other.json"))
    output = dataset.shell("status", dataset.folder)
    assert (output.code, output.out) == (1, "")
    assert "is a symbolic link" in output.err


def failed_runs(dataset):
    output = dataset.shell("status", dataset.folder, "--openmetrics")
    assert output.code == 0, output.err
    return samples(output.out)["failed_runs"]


@pytest.mark.parametrize(
    "change",
    [
        {"measures": {'x"} 1\ny': {"count": 1, "sum": 1, "max": 1}}},
        {"measures": {"read_ms": {"count": 1, "sum": 1e999, "max": 1}}},
        {"measures": {"read_ms": {"count": -1, "sum": 1, "max": 1}}},
        {"phases": {"plan": 1, "other": 2}},
        {"finished": "2026-02-30T00:00:00+00:00"},
    ],
    ids=str,
)
def test_hostile_records_of_committed_runs(watched, tmp_path, capsys, change):
    folder = tmp_path / "copy"
    shutil.copytree(watched[0].folder, folder)
    dataset = Dataset(folder, capsys=capsys)
    for path in (folder / "runs").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    output = dataset.shell("status", folder, "--openmetrics")
    assert output.code == 0, output.err
    assert samples(output.out)["last_commit_timestamp_seconds"] == 0
    status = json.loads(dataset.shell("status", folder, "--json").out)
    assert all("is damaged" in run["problem"] for run in status["runs"])
    assert dataset.shell("verify", folder).code == 1


def test_strange_names_in_metrics(watched, tmp_path, capsys):
    folder = tmp_path / 'a "b" \\ c\n# EOF'
    shutil.copytree(watched[0].folder, folder)
    for path in (folder / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        record["failures_by_reason"] = {'decode a"b\\\nc': 3}
        record["versions"] = {"\x1b": "{}", "\ud800": '"'}
        path.write_text(json.dumps(record))
    dataset = Dataset(folder, capsys=capsys)
    text = dataset.shell("status", folder, "--openmetrics").out
    families = {each.name: each for each in text_string_to_metric_families(text)}
    (sample,) = families["image_embeddings_runs"].samples
    assert sample.labels["dataset"] == str(folder).replace("\n", r"\n")
    (sample,) = families["image_embeddings_last_run_failures"].samples
    assert sample.labels["error"] == 'a"b\\' + r"\nc"


def test_names_in_an_error_do_not_reach_the_terminal(failed_once):
    dataset, path = failed_once
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "error": "\x1b[2J\nrun x committed: 7 images listed"}))
    shown = dataset.shell("status", dataset.folder).out
    assert "\x1b" not in shown
    assert "\nrun x committed" not in shown


def samples(text):
    """The values of samples without further labels, by name. The parser is strict."""
    return {
        sample.name.removeprefix("image_embeddings_"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_status_can_be_written_for_a_collector(watched, tmp_path, capsys):
    dataset = Dataset(watched[0].folder, capsys=capsys)
    file = tmp_path / "collector" / "photos.prom"
    assert dataset.shell("status", dataset.folder, "--openmetrics", file) == (0, "", "")
    assert [path.name for path in file.parent.iterdir()] == ["photos.prom"]
    shown = dataset.shell("status", dataset.folder, "--openmetrics").out
    assert file.read_text() == shown
    assert samples(shown)["failed_runs"] == 0
    output = dataset.shell("status", dataset.folder, "--openmetrics", tmp_path)
    assert output.code == 2
    assert "--openmetrics" in output.err
    output = dataset.shell("status", dataset.folder, "--openmetrics", "--json")
    assert output.code == 2


VERBOSE_LINES = 25  # there were 229 for 22 images


def command(dataset, folder, output, *options):
    """Run in a process of its own, since a run changes how Python logs."""
    words = ("--input", folder, "--encoder", dataset.bundle, "--output", output, *options)
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "run", *map(str, words)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_verbose_is_for_people(watched, tmp_path):
    dataset, folder, *_ = watched
    done = command(dataset, folder, tmp_path / "out", "--verbose")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= VERBOSE_LINES, done.stderr
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines), done.stderr
    text = done.stderr
    for what in ("starts on FnApiRunner", "planning is done", "loaded in", "the commit begins"):
        assert text.count(what) == 1
    assert f"wrote {BAD} failures ({BAD} x decode UnidentifiedImageError)" in text
    assert "apache_beam" not in text
    assert "run=2" not in text.replace("/run=2", "")


@pytest.mark.slow
def test_json_for_programs(watched, tmp_path):
    dataset = watched[0]
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / 'a "name"\n.jpg').write_text("no image")
    done = command(dataset, bad, tmp_path / "out", "--log-format", "json", "--run-id", "night")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines
    for line in lines:
        assert list(line) == ["time", "severity", "message", "logger", "run_id"]
        assert line["run_id"] == "night"
        assert "run=night" not in line["message"].replace("/run=night", "")
    assert lines[-1]["severity"] == "ERROR"
    assert lines[-1]["message"].startswith("JobError: 1 of 1 images failed")


@pytest.mark.long
def test_messages_and_measures_of_worker_processes_arrive(watched, tmp_path):
    dataset, folder, *_ = watched
    options = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    done = command(dataset, folder, tmp_path / "out", "--log-format", "json", *options)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    loggers = Counter(line["logger"] for line in lines)
    for name in ("steps.read", "steps.write", "embedding.handler", "steps.commit"):
        assert loggers[f"pipeline.{name}"]
    assert {line["severity"] for line in lines} == {"INFO"}
    record = Dataset(tmp_path / "out").record()
    assert record["encoder_loads"] == record["measures"]["load_ms"]["count"] == 1
    assert record["measures"]["batch_images"]["sum"] == IMAGES + TWINS
