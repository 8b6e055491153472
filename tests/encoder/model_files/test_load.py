import json
import zipfile

import keras
import pytest

from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.conftest import small_network

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_whole_models_load(tmp_path, name):
    small_network().save(tmp_path / name)
    model, sha256 = load_model(tmp_path / name)
    assert [layer.name for layer in model.layers] == [
        layer.name for layer in small_network().layers
    ]
    assert len(sha256) == 64


def test_a_model_in_a_bucket(small_model_file, bucket):
    from encoder.storage.registry import store_for

    path = f"{bucket}/models/small.keras"
    store_for(path).write(path, small_model_file.read_bytes())
    assert load_model(path)[1] == load_model(small_model_file)[1]


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_lambda_layers_are_refused_before_their_code_runs(tmp_path, name):
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Lambda(lambda x: x * 2, name="sneaky")(inputs)
    keras.Model(inputs, outputs).save(tmp_path / name)
    with pytest.raises(InputError, match=r"layer 'sneaky' has a Lambda.*--trust"):
        load_model(tmp_path / name)


def test_what_is_no_model(tmp_path, small_model_file):
    missing = tmp_path / "missing.keras"
    with pytest.raises(InputError, match="does not exist"):
        load_model(missing)
    with pytest.raises(InputError, match="is a folder"):
        load_model(tmp_path)
    text = tmp_path / "text.keras"
    text.write_text("hello")
    with pytest.raises(InputError, match=r"starts with b'hello'"):
        load_model(text)
    cut = tmp_path / "cut.keras"
    cut.write_bytes(small_model_file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"not a whole \.keras file"):
        load_model(cut)
    weights = tmp_path / "only.weights.h5"
    small_network().save_weights(weights)
    with pytest.raises(InputError, match="weights only"):
        load_model(weights)


def test_a_model_of_unknown_classes(tmp_path, small_model_file):
    path = tmp_path / "strange.keras"
    with zipfile.ZipFile(small_model_file) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["class_name"] = "Conv2E"
                data = json.dumps(config).encode()
            target.writestr(name, data)
    with pytest.raises(InputError, match=r"the class keras\.layers\.Conv2E"):
        load_model(path)
