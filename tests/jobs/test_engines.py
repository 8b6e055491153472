"""Runs that ncnn computes, and those that Keras computes, into the same dataset."""

import json

import numpy as np
import pytest

from encoder.errors import InputError
from encoder.spec import COMPILED, SEAL, EncoderSpec, seal
from tests.conftest import write_image


def computed_on(dataset):
    """What the records of the runs say, oldest first."""
    records = [json.loads(path.read_text()) for path in (dataset.folder / "runs").glob("*.json")]
    return [each["computed_on"] for each in sorted(records, key=lambda each: each["started"])]


def vectors(dataset):
    return {uri: np.asarray(row["embedding"]) for uri, row in dataset.rows().items()}


@pytest.fixture
def old_bundle(small_bundle, tmp_path):
    """A bundle of before there were compiled forms."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "encoder.keras").write_bytes((small_bundle / "encoder.keras").read_bytes())
    values = json.loads((small_bundle / "encoder.json").read_text())
    spec = EncoderSpec.from_values({k: v for k, v in values.items() if k not in (COMPILED, SEAL)})
    (folder / "encoder.json").write_text(seal(spec, str(folder / "encoder.keras")))
    return folder


def test_a_dataset_of_both(dataset, images):
    dataset.run(images, options=["--engine", "keras"])
    before = vectors(dataset)
    write_image(images / "new.png", 77)
    counts = dataset.run(images)
    assert (counts["embedded"], counts["unchanged"]) == (1, 5)
    (first,), (second,) = computed_on(dataset)
    assert "(TensorFlow " in first
    assert "(ncnn " in second
    after = vectors(dataset)
    assert len(after) == 6
    for uri, vector in before.items():
        np.testing.assert_array_equal(after[uri], vector)


def test_their_vectors_are_alike(dataset, images, tmp_path):
    dataset.run(images, options=["--engine", "keras"])
    other = type(dataset)(tmp_path / "other", dataset.bundle)
    other.run(images, options=["--engine", "ncnn"])
    expected, found = vectors(dataset), vectors(other)
    assert found.keys() == expected.keys()
    for uri, vector in expected.items():
        assert np.abs(found[uri] - vector).max() <= 1e-5 * np.abs(vector).max()


def test_a_bundle_of_before_is_compiled_once(dataset, images, old_bundle):
    output = dataset.job(images, bundle=old_bundle)
    assert output.code == 0
    assert "of an earlier version: it gets its compiled form, once" in output.out
    assert "can compute it, too" in output.out
    assert "(ncnn " in computed_on(dataset)[0][0]
    output = dataset.job(images, bundle=old_bundle)
    assert (output.code, "compiled form" in output.out) == (0, False)


def test_a_bundle_of_before_that_cannot_be_written_to(dataset, images, old_bundle, monkeypatch):
    def refuse(*_):
        raise InputError("can't write the bundle to 'old': read-only")

    monkeypatch.setattr("encoder.extraction._write_files", refuse)
    output = dataset.job(images, bundle=old_bundle)
    assert output.code == 0
    assert "it is left as it is, and Keras computes: can't write the bundle" in output.out
    assert "(TensorFlow " in computed_on(dataset)[0][0]
    output = dataset.job(images, bundle=old_bundle, options=["--engine", "ncnn"])
    assert (output.code, output.err) == (2, "error: can't write the bundle to 'old': read-only\n")


def test_keras_leaves_a_bundle_of_before_as_it_is(dataset, images, old_bundle):
    before = sorted(path.name for path in old_bundle.iterdir())
    dataset.run(images, bundle=old_bundle, options=["--engine", "keras"])
    assert sorted(path.name for path in old_bundle.iterdir()) == before
