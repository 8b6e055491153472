"""A launch of the Flex Template against servers that take Google's places."""

import sys

import pytest

import encoder
from deploy.flex_template import launch
from encoder.storage.registry import store_for
from pipeline.dataset.reader import open_dataset
from tests.conftest import write_image
from tests.support import dataflow


@pytest.mark.slow
def test_a_launch_submits_a_job_that_works(bucket, small_model_file, tmp_path, monkeypatch, capsys):
    encoder.extract(small_model_file, f"{bucket}/bundle")
    for seed, folder in enumerate(("a,b", "c")):
        data = write_image(tmp_path / f"{seed}.jpg", seed).read_bytes()
        store_for(bucket).write(f"{bucket}/{folder}/{seed}.jpg", data)
    monkeypatch.setenv(launch.IMAGE, "host/embed-images:1")
    with dataflow.serving() as (state, address):
        parameters = {
            "input": f"{bucket}/a,b|{bucket}/c",
            "encoder": f"{bucket}/bundle",
            "output": f"{bucket}/out",
            "allow_deletes": "false",
            "retry_failures": "true",
            "batch_size": "4",
            "keep": "",
            "project": "proj",
            "region": "europe-west4",
            "job_name": "embed-images-photos",
            "temp_location": f"{bucket}/temp",
            "dataflow_endpoint": address,
        }
        words = [f"--{name}={value}" for name, value in parameters.items()]
        monkeypatch.setattr(sys, "argv", ["launch.py", *words])
        assert launch.launch() == 0, capsys.readouterr().err
        (job,) = state.created
    assert job["name"] == "embed-images-photos"
    assert "host/embed-images:1" in str(job["environment"])
    dataflow.execute(job)
    rows = open_dataset(f"{bucket}/out").to_table(columns=["uri"])["uri"].to_pylist()
    assert sorted(rows) == [f"{bucket}/a,b/0.jpg", f"{bucket}/c/1.jpg"]
