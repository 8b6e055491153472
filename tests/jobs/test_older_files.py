"""Bundles and a dataset written by an earlier commit: current code reads and updates them.

``tests/data/written_by_1a4d3f3`` is this project's own output: three bundles (one with GeM over two
taps, one with TensorFlow operations from Keras 2), the vectors that the commit computed with them,
and a dataset of three runs over a bucket with images, an archive, a manifest and a broken image.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

import encoder
import pipeline
from pipeline.__main__ import main

WRITTEN = pathlib.Path(__file__).parents[1] / "data" / "written_by_1a4d3f3"
BUNDLES = ("bundle", "bundle_gem", "bundle_keras2_operations")
INPUTS = ["--input", "gs://bucket/images", "--input", "gs://bucket/labels.csv"]


@pytest.fixture
def bucket_of_then(gcs):
    """The bucket that the dataset was made from, with the same generations."""
    bucket = gcs.buckets["bucket"]
    for name, generation in json.loads((WRITTEN / "generations.json").read_text()).items():
        bucket.put(name, (WRITTEN / "bucket" / name).read_bytes(), generation=generation)
    return bucket


@pytest.fixture
def output(tmp_path):
    return pathlib.Path(shutil.copytree(WRITTEN / "dataset", tmp_path / "out"))


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_loads_with_its_id_and_gives_the_same_vectors(name):
    bundle = encoder.load(WRITTEN / name)  # load() computes the id again and compares
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    expected = np.array(json.loads((WRITTEN / "vectors.json").read_text())[name], np.float32)
    # The last bits may differ on another kind of CPU.
    np.testing.assert_allclose(bundle.embed(pixels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bundle", ["bundle", "bundle_gem"])
@pytest.mark.parametrize("keep", [(), ("--keep", "label,score")])
def test_a_run_over_the_same_images_embeds_nothing(
    bucket_of_then, output, bundle, keep, monkeypatch
):
    never = "pipeline.embedding.handler.EncoderHandler.load_encoder"
    monkeypatch.setattr(never, lambda *_: pytest.fail("the encoder was loaded"))
    before = sorted(output.glob("*/encoder=*/*/*.parquet"))
    words = ["--encoder", WRITTEN / bundle, "--output", output, "--run-id", "now", *keep]
    assert main(["run", *INPUTS, *map(str, words)]) == 0
    record = json.loads((output / "runs" / "now.json").read_text())
    assert record["listed"] == record["unchanged"] == 10
    assert record["embedded"] == record["failed"] == record["deleted"] == record["copied"] == 0
    assert sorted(output.glob("*/encoder=*/*/*.parquet")) == before


def test_a_changed_and_a_missing_image_are_found(bucket_of_then, output):
    bucket_of_then.put("images/0.png", (WRITTEN / "bucket/images/4.png").read_bytes())
    bucket_of_then.remove("images/3.png")
    bucket_of_then.put("images/new.png", (WRITTEN / "bucket/images/1.png").read_bytes())
    words = ["--encoder", WRITTEN / "bundle", "--output", output, "--run-id", "now"]
    assert main(["run", *INPUTS, *map(str, words)]) == 0
    record = json.loads((output / "runs" / "now.json").read_text())
    names = ("listed", "new", "changed", "deleted", "embedded", "copied")
    assert [record[name] for name in names] == [10, 1, 1, 1, 2, 2]


def test_readers_and_upkeep_know_the_dataset(output, capsys):
    state = json.loads((output / "manifest.json").read_text())
    for encoder_id in state["encoders"]:
        table = pipeline.open_dataset(output, encoder_id).to_table()
        assert table.num_rows == 9
        assert {"label", "score"} <= set(table.column_names)
    assert main(["verify", str(output)]) == 0
    assert main(["status", str(output)]) == 0
    first = next(iter(state["encoders"]))
    capsys.readouterr()
    assert main(["changes", str(output), "--since", "first", "--encoder", first]) == 0
    changes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["uri"].rpartition("/")[2]: each["change"] for each in changes} == {
        "1.png": "changed",
        "2.png": "removed",
        "5.png": "added",
    }
    assert main(["compact", str(output)]) == 0
    assert main(["prune", str(output), "--encoder", first]) == 0
    assert main(["verify", str(output)]) == 0
