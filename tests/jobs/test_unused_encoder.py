"""A run that embeds nothing has checked its encoder as well."""

import json
import shutil

import pytest

import encoder
from encoder.spec import SEAL
from tests.conftest import small_network
from tests.support.dataset import Dataset


@pytest.fixture
def bundle(small_bundle, tmp_path):
    return shutil.copytree(small_bundle, tmp_path / "bundle")


@pytest.fixture
def done(dataset, images, bundle, tmp_path, capsys):
    """A dataset in which every image of the folder has its row."""
    done = Dataset(dataset.folder, bundle, tmp_path, capsys)
    done.run(images)
    return done


def unsealed(bundle):
    """The bundle as early versions wrote it."""
    path = bundle / "encoder.json"
    values = json.loads(path.read_text())
    del values[SEAL]
    path.write_text(json.dumps(values))


def replace_weights(bundle, tmp_path):
    encoder.extract(small_network(seed=5), tmp_path / "other", preprocess="unit")
    shutil.copy(tmp_path / "other" / "encoder.keras", bundle)


def flip_a_byte(bundle, tmp_path):
    data = bytearray((bundle / "encoder.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "encoder.keras").write_bytes(data)


def change_a_setting(bundle, tmp_path):
    path = bundle / "encoder.json"
    path.write_text(path.read_text().replace('"bilinear"', '"box"'))


@pytest.mark.parametrize("change", [replace_weights, flip_a_byte, change_a_setting])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_changed_bundle_is_refused_at_once(done, images, bundle, tmp_path, change, command):
    before = done.manifest()
    change(bundle, tmp_path)
    output = done.job(images, command=command)
    assert output.code == 2
    assert "error: --encoder: " in output.err
    assert "do not belong together" in output.err
    assert done.manifest() == before


@pytest.mark.parametrize("change", [replace_weights, change_a_setting])
def test_a_changed_bundle_without_a_seal_is_loaded_once(done, images, bundle, tmp_path, change):
    before = done.manifest()
    unsealed(bundle)
    change(bundle, tmp_path)
    output = done.job(images)
    assert output.code == 1
    assert "do not belong together" in output.err
    assert done.manifest() == before


def test_a_bundle_without_a_seal_goes_on_working(done, images, bundle):
    unsealed(bundle)
    assert done.run(images) == {"listed": 5, "unchanged": 5}


@pytest.mark.parametrize("field", ["dim", "id", "height"])
def test_a_wrong_value_names_the_file_and_the_field(done, images, bundle, field):
    path = bundle / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: "../.."}))
    output = done.job(images)
    assert output.code == 2
    assert f"error: --encoder: {path} is damaged: " in output.err
    assert field in output.err
