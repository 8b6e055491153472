"""Jobs for Dataflow, up to the service itself: requests, templates, waiting, and status."""

import json
import re
from types import SimpleNamespace

import pytest
from apache_beam.runners.dataflow import dataflow_runner

import encoder
from encoder.storage.registry import store_for
from pipeline.__main__ import main
from pipeline.cli.gpu_options import threads_for
from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.reader import open_dataset
from pipeline.upkeep.submissions import ENDPOINT_VARIABLE
from tests.conftest import write_image
from tests.support.dataflow import execute, pipeline_of, serving

IMAGE = "europe-west4-docker.pkg.dev/proj/embed/worker:1"


@pytest.fixture
def service(monkeypatch):
    """A server in Dataflow's place, and its address; Beam waits less long between questions."""
    short = SimpleNamespace(time=dataflow_runner.time.time, sleep=lambda _: _sleep(0.05))
    _sleep = dataflow_runner.time.sleep
    monkeypatch.setattr(dataflow_runner, "time", short)
    with serving() as (state, address):
        monkeypatch.setenv(ENDPOINT_VARIABLE, address)
        yield SimpleNamespace(state=state, address=address)


@pytest.fixture
def collection(bucket, small_model_file, tmp_path):
    """A bucket with a bundle and three images."""
    encoder.extract(small_model_file, f"{bucket}/bundle")
    for seed in range(3):
        add_image(bucket, tmp_path, seed)
    return bucket


def add_image(bucket, tmp_path, seed):
    data = write_image(tmp_path / f"{seed}.jpg", seed).read_bytes()
    store_for(bucket).write(f"{bucket}/photos/{seed}.jpg", data)


def words(bucket, service, *more):
    return [
        *("run", "--input", f"{bucket}/photos", "--encoder", f"{bucket}/bundle"),
        *("--output", f"{bucket}/dataset", "--runner=DataflowRunner", "--project=proj"),
        *("--region=europe-west4", f"--temp_location={bucket}/temp"),
        *(f"--sdk_container_image={IMAGE}", f"--dataflow_endpoint={service.address}", *more),
    ]


def uris_of(bucket):
    rows = open_dataset(f"{bucket}/dataset").to_table(columns=["uri"])["uri"].to_pylist()
    return sorted(uri.rpartition("/")[2] for uri in rows)


def hints_of(proto):
    """The resource hints of each transform that runs code: label -> {hint: value}."""
    environments = proto.components.environments
    return {
        each.unique_name: dict(environments[each.environment_id].resource_hints)
        for each in proto.components.transforms.values()
        if each.environment_id and not each.subtransforms
    }


def test_the_whole_request(collection, service, capsys):
    more = [
        *(f"--staging_location={collection}/staging", "--job_name=embed", "--no-wait"),
        *("--num_workers=2", "--max_num_workers=5", "--autoscaling_algorithm=THROUGHPUT_BASED"),
        *("--labels=team=vision", "--labels=cost=42", "--disk_size_gb=50", "--no_use_public_ips"),
        *("--service_account_email=worker@proj.iam.gserviceaccount.com",),
        *("--network=net", "--subnetwork=regions/europe-west4/subnetworks/sub"),
        *("--gpu", "nvidia-l4:2", "--machine_type=g2-standard-24"),
    ]
    assert main(words(collection, service, *more)) == 0, capsys.readouterr().err
    ((project, region),), (job,) = service.state.places, service.state.created
    assert (project, region, job["name"]) == ("proj", "europe-west4", "embed")
    assert job["type"] == "JOB_TYPE_BATCH"
    assert job["labels"] == {"team": "vision", "cost": "42"}
    environment = job["environment"]
    assert environment["serviceAccountEmail"] == "worker@proj.iam.gserviceaccount.com"
    assert environment["tempStoragePrefix"].endswith("/temp/" + _suffix(job, "temp_location"))
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert "use_multiple_sdk_containers" not in environment["experiments"]
    assert "serviceOptions" not in environment  # all workers would get GPUs
    (pool,) = environment["workerPools"]
    images = {each["containerImage"] for each in pool["sdkHarnessContainerImages"]}
    assert images == {IMAGE}
    assert pool["numWorkers"] == 2
    assert pool["autoscalingSettings"] == {
        "algorithm": "AUTOSCALING_ALGORITHM_BASIC",
        "maxNumWorkers": 5,
    }
    assert pool["numThreadsPerWorker"] == threads_for(2)
    assert pool["diskSizeGb"] == 50
    assert (pool["network"], pool["subnetwork"]) == (
        "net",
        "regions/europe-west4/subnetworks/sub",
    )
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert "machineType" not in pool  # of the workers without GPUs
    options = environment["sdkPipelineOptions"]["options"]
    assert options["number_of_worker_harness_threads"] == threads_for(2)
    assert options["staging_location"].startswith(f"{collection}/staging/embed.")
    assert options["sdk_container_image"] == IMAGE
    # The GPUs are a hint of the embedding step alone; Dataflow gives them to the stage around it.
    gpu = "type:nvidia-l4;count:2;machine_type:g2-standard-24;install-nvidia-driver"
    hints = hints_of(pipeline_of(job))
    with_gpu = {label for label, found in hints.items() if found}
    assert len(pipeline_of(job).components.environments) == 2  # others would prevent fusion
    assert with_gpu == {label for label in hints if label.startswith("EmbedImages/")} != set()
    assert {value for label in with_gpu for value in hints[label].values()} == {gpu.encode()}


def _suffix(job, option):
    return job["environment"]["sdkPipelineOptions"]["options"][option].rpartition("/")[2]


def test_gpus_of_all_workers_are_what_the_service_option_asks_for(collection, service, capsys):
    accelerator = "worker_accelerator=type:nvidia-tesla-t4;count:1;install-nvidia-driver"
    more = [f"--dataflow_service_options={accelerator}", "--machine_type=n1-standard-8"]
    assert main(words(collection, service, "--no-wait", *more)) == 0, capsys.readouterr().err
    environment = service.state.created[0]["environment"]
    assert environment["serviceOptions"] == [accelerator]
    assert environment["workerPools"][0]["machineType"] == "n1-standard-8"
    assert environment["workerPools"][0]["numThreadsPerWorker"] == threads_for(1)
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert not any(hints_of(pipeline_of(service.state.created[0])).values())


def test_a_run_that_is_waited_for(collection, service, tmp_path, capsys):
    """The job runs from what was staged; the launcher shows its id, its states and the record."""
    service.state.work = execute
    assert main(words(collection, service)) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert "3 images listed" in out
    job = "2026-11-27_00_00_00-0"
    assert re.search(r"Created job with id: \[([^\"\n\s]*)\]", err)[1] == job  # as Airflow reads it
    assert f"https://console.cloud.google.com/dataflow/jobs/europe-west4/{job}?project=proj" in err
    for state in ("PENDING", "DONE"):
        assert f"Job {job} is in state JOB_STATE_{state}" in err
    assert "Worker configuration" in err
    assert "pipelineUrl" not in err
    assert "WARNING" not in err  # of other libraries
    assert uris_of(collection) == ["0.jpg", "1.jpg", "2.jpg"]
    assert main(["status", f"{collection}/dataset"]) == 0
    assert "Dataflow" not in capsys.readouterr().out  # the run has committed; nothing is open
    # A worker's error is one line, with the address of the job.
    for seed in range(3):
        store_for(collection).delete(f"{collection}/photos/{seed}.jpg")
    assert main(words(collection, service)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: no image was found in")
    assert "europe-west4/2026-11-27_00_00_00-1?project=proj" in last


def test_a_run_that_is_not_waited_for(collection, service, capsys):
    service.state.work = execute
    assert main(words(collection, service, "--no-wait", "--run-id=nightly")) == 0
    out, err = capsys.readouterr()
    job = "2026-11-27_00_00_00-0"
    assert f"Created job with id: [{job}]" in err
    assert f"https://console.cloud.google.com/dataflow/jobs/europe-west4/{job}?project=proj" in out
    assert f"gcloud dataflow jobs cancel {job} --project=proj --region=europe-west4" in out
    service.state.finish(job)
    assert main(["status", f"{collection}/dataset"]) == 0
    out = capsys.readouterr().out
    assert "nightly" in out
    assert "its job on Dataflow" not in out
    assert list(read_manifest(f"{collection}/dataset")[0].runs) == ["nightly"]


def test_how_status_shows_jobs_that_have_not_committed(collection, service, capsys, monkeypatch):
    dataset = f"{collection}/dataset"
    assert main(words(collection, service, "--no-wait", "--run-id=first")) == 0
    assert main(words(collection, service, "--no-wait", "--run-id=second")) == 0
    capsys.readouterr()

    def shown():
        assert main(["status", dataset, "--json"]) == 0
        return {
            each["run_id"]: (each["state"], each["detail"])
            for each in json.loads(capsys.readouterr().out)["submitted"]
        }

    assert shown() == {"first": ("running", ""), "second": ("running", "")}
    service.state.state, service.state.error = "JOB_STATE_FAILED", "The zone has no L4 left"
    service.state.lost.add("2026-11-27_00_00_00-0")
    found = shown()
    assert found["first"] == ("unknown", "Dataflow does not know the job (any more)")
    assert found["second"] == ("failed", "The zone has no L4 left")
    assert main(["status", dataset]) == 0
    out = capsys.readouterr().out
    assert "no run has committed yet" in out
    assert "run second: its job on Dataflow is failed: The zone has no L4 left" in out
    # Notes are no findings, and go with the age of other leftovers. Nobody answers: status says so.
    monkeypatch.setenv(ENDPOINT_VARIABLE, "http://127.0.0.1:1")
    assert shown()["first"] == ("unknown", "Dataflow gave no answer: ConnectionError")
    assert service.state.authorized == []  # credentials go to Google's own address alone


def test_a_job_that_fails(collection, service, capsys):
    error = "Traceback (most recent call last):\n  ...\nValueError: odd [while running 'X-1']"
    service.state.state, service.state.error = "JOB_STATE_FAILED", error
    assert main(words(collection, service)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ValueError: odd. The job: https://")
    assert "https://console.cloud.google.com/dataflow/jobs/europe-west4/" in lines[-1]
    assert "Traceback" not in lines[-1]


@pytest.mark.long
def test_a_job_that_was_cancelled(collection, service, capsys):
    service.state.state = "JOB_STATE_CANCELLED"
    assert main(words(collection, service)) == 1
    assert "error: the job was cancelled" in capsys.readouterr().err


def test_a_job_that_is_refused(collection, service, capsys):
    service.state.refusal = (403, "Current user cannot act as service account")
    assert main(words(collection, service)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: the job was not submitted: 403")
    assert "cannot act as service account" in last


def test_nobody_has_to_wait(collection, service, capsys, monkeypatch):
    def interrupted(self, duration=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataflow_runner.DataflowPipelineResult, "wait_until_finish", interrupted)
    assert main(words(collection, service)) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert "the job 2026-11-27_00_00_00-0 goes on" in last
    assert "gcloud dataflow jobs cancel" in last


def test_a_template_can_be_executed_many_times(collection, service, tmp_path, capsys):
    """Nothing of one launch is in it: each execution is a run, which sees what exists then."""
    template = f"{collection}/templates/embed"
    assert main(words(collection, service, f"--template_location={template}")) == 0
    out, err = capsys.readouterr()
    assert template in out
    assert "error" not in err
    assert service.state.created == []
    assert read_manifest(f"{collection}/dataset")[1] is None
    job = json.loads(store_for(template).read(template)[0])
    execute(job)
    assert uris_of(collection) == ["0.jpg", "1.jpg", "2.jpg"]
    store_for(collection).delete(f"{collection}/photos/0.jpg")
    add_image(collection, tmp_path, 7)
    execute(job)
    assert uris_of(collection) == ["1.jpg", "2.jpg", "7.jpg"]
    manifest = read_manifest(f"{collection}/dataset")[0]
    assert len(manifest.runs) == len(set(manifest.runs.values())) == 2
    first, second = (
        json.loads(store_for(template).read(f"{collection}/dataset/runs/{run}.json")[0])
        for run in manifest.runs
    )
    assert first["started"] < first["finished"] < second["started"]
    assert (second["new"], second["deleted"], second["unchanged"]) == (1, 1, 2)
    assert second["seconds"] < 60  # since the execution began, not since the template was written
    assert main(["verify", f"{collection}/dataset"]) == 0


def test_the_program_of_a_flex_template_does_not_wait(collection, service, capsys):
    """The launcher gives the file and takes the job from there; the id is in the file's name."""
    job = "2026-11-27_01_02_03-456"
    place = f"{collection}/staging/template_launches/{job}/job_object"
    more = [f"--template_location={place}", "--run-id=nightly", "--job_name=nightly"]
    assert main(words(collection, service, *more)) == 0, capsys.readouterr().err
    assert f"submitted job {job}, run nightly" in capsys.readouterr().out
    execute(json.loads(store_for(place).read(place)[0]))
    assert list(read_manifest(f"{collection}/dataset")[0].runs) == ["nightly"]
    assert store_for(place).stat(f"{collection}/dataset/submitted/nightly.json") is None


def test_a_template_does_not_drop_columns_of_later_runs(collection, service, tmp_path, capsys):
    template = f"{collection}/templates/embed"
    assert main(words(collection, service, f"--template_location={template}")) == 0
    rows = f"uri,label\n{collection}/photos/0.jpg,cat\n"
    (tmp_path / "list.csv").write_text(rows)
    paths = ["--encoder", f"{collection}/bundle", "--output", f"{collection}/dataset"]
    assert main(["run", "--input", str(tmp_path / "list.csv"), *paths, "--keep=label"]) == 0
    with pytest.raises(Exception, match="the dataset has got the column 'label' since"):
        execute(json.loads(store_for(template).read(template)[0]))
    assert open_dataset(f"{collection}/dataset").to_table()["label"].to_pylist() == ["cat"]
