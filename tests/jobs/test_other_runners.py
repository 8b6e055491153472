"""The job on runners whose workers share nothing with the submitter, as far as tests can."""

import json
import os
import pathlib
import subprocess
import sys

import pyarrow.dataset as ds
import pytest

import encoder
from encoder.storage.registry import store_for
from pipeline.__main__ import main
from pipeline.dataset.reader import open_dataset

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def services(tmp_path):
    with subprocess.Popen(
        [sys.executable, ROOT / "tests" / "support" / "portable_services.py", tmp_path / "staging"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        yield process.stdout.readline().split()
        process.terminate()


def portable(services):
    job_port, pool_port = services
    return [
        "--runner=PortableRunner",
        f"--job_endpoint=127.0.0.1:{job_port}",
        "--environment_type=EXTERNAL",
        f"--environment_config=127.0.0.1:{pool_port}",
    ]


@pytest.mark.long  # make test runs the same on Flink
def test_a_portable_job_service_with_workers_in_other_processes(
    services, images, small_bundle, tmp_path, capsys
):
    output = tmp_path / "out"
    paths = ["--input", images, "--encoder", small_bundle, "--output", output]
    arguments = ["run", *map(str, paths), *portable(services)]
    assert main(arguments) == 0, capsys.readouterr().err
    table = ds.dataset(output / "embeddings").to_table()
    assert table.num_rows == 5
    record = json.loads(next((output / "runs").iterdir()).read_text())
    assert (record["listed"], record["embedded"], record["encoder_loads"]) == (5, 5, 1)
    (images / "a" / "0.jpg").unlink()
    capsys.readouterr()
    assert main(["plan", *arguments[1:]]) == 0
    planned = capsys.readouterr().out
    assert main(["plan", *map(str, paths)]) == 0
    assert planned == capsys.readouterr().out
    assert "deleted    1" in planned
    assert main(arguments) == 0
    assert ds.dataset(output / "embeddings").to_table().num_rows == 4
    # An error in a worker is reported as one line.
    for path in images.rglob("*.*"):
        path.unlink()
    capsys.readouterr()
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: no image was found in")
    assert "Traceback" not in err


def test_dataflow_dry_run(bucket, small_model_file, tmp_path, capsys, monkeypatch):
    """Build the whole job for Dataflow with gs:// locations, and check what would be sent.

    tests/jobs/test_dataflow.py has the requests of real submissions.
    """
    encoder.extract(small_model_file, f"{bucket}/bundle")
    sent = []
    from apache_beam.runners.dataflow.internal import apiclient

    job_type = apiclient.Job

    class Recorded(job_type):
        def __init__(self, options, proto_pipeline):
            sent.append((options.get_all_options(), proto_pipeline))
            super().__init__(options, proto_pipeline)

    monkeypatch.setattr(apiclient, "Job", Recorded)
    code = main(
        [
            *("run", "--input", f"{bucket}/photos/**/*.jpg", "--encoder", f"{bucket}/bundle"),
            *("--output", f"{bucket}/dataset", "--runner=DataflowRunner", "--dry_run=True"),
            *("--project=test", "--region=europe-west1", "--job_name=embed"),
            *(f"--temp_location={bucket}/temp", f"--staging_location={bucket}/staging"),
            "--sdk_container_image=registry.example/embed:1",
        ]
    )
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "dry run" in out
    ((options, proto),) = sent
    assert options["number_of_worker_harness_threads"] is None
    assert "no_use_multiple_sdk_containers" not in options["experiments"]
    assert not options["dataflow_service_options"]
    names = {each.unique_name for each in proto.components.transforms.values()}
    for step in ("ListImages", "PlanRun", "ReadImages", "EmbedImages", "WriteParts", "Commit"):
        assert step in names
    images = {each.payload for each in proto.components.environments.values()}
    assert any(b"registry.example/embed:1" in image for image in images)
    payloads = b"".join(t.spec.payload for t in proto.components.transforms.values())
    assert str(tmp_path).encode() not in payloads  # nothing of this machine is sent
    assert os.fsencode(ROOT) not in payloads
    assert store_for(bucket).stat(f"{bucket}/dataset/manifest.json") is None


def test_the_main_session_is_not_saved():
    sources = [*(ROOT / "pipeline").glob("*.py"), *(ROOT / "encoder").glob("*.py")]
    assert all("save_main_session" not in path.read_text() for path in sources)


def test_a_whole_run_in_a_bucket(bucket, images, small_model_file, capsys):
    encoder.extract(small_model_file, f"{bucket}/bundle")
    for path in images.rglob("*.*"):
        store_for(bucket).write(f"{bucket}/photos/{path.name}", path.read_bytes())
    paths = ["--input", f"{bucket}/photos", "--encoder", f"{bucket}/bundle"]
    arguments = ["run", *paths, "--output", f"{bucket}/dataset"]
    assert main(arguments) == 0, capsys.readouterr().err
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out
    store_for(bucket).delete(f"{bucket}/photos/0.jpg")
    store_for(bucket).write(f"{bucket}/photos/new.jpg", (images / "a" / "2.jpg").read_bytes())
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "embedded   1" in out
    assert "deleted    1" in out
    names = [info.path for info in store_for(bucket).list_files(f"{bucket}/dataset/embeddings")]
    assert names
    assert all(name.endswith(".parquet") for name in names)
    found = open_dataset(f"{bucket}/dataset").to_table(columns=["uri"])["uri"].to_pylist()
    assert sorted(found) == [
        f"{bucket}/photos/{name}" for name in ("1.jpg", "2.jpg", "3.png", "4.png", "new.jpg")
    ]
