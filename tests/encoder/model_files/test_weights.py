import re

import numpy as np
import pytest

import encoder
from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.conftest import small_network

BUILDER = """
import keras
def network(filters=16):
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.MaxPooling2D(name="pool2")(x)
    x = keras.layers.UpSampling2D(4, name="up")(x)
    return keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", name="out")(x))
def other():
    return network(12)
def without_the_last():
    model = network()
    return keras.Model(model.input, model.get_layer("up").output)
def nothing():
    return None
"""


@pytest.fixture
def builder(tmp_path, monkeypatch, request):
    name = re.sub(r"\W", "_", f"builder_{request.node.name}")
    (tmp_path / f"{name}.py").write_text(BUILDER)
    monkeypatch.chdir(tmp_path)
    return name


def extract(path, tmp_path, builder):
    return encoder.extract(path, tmp_path / "bundle", builder=builder)


@pytest.mark.parametrize("name", ["w.weights.h5", "whole.keras", "whole.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_find_their_place(tmp_path, builder, name):
    model = small_network(seed=9)
    save = model.save_weights if "weights" in name else model.save
    save(tmp_path / name)
    made = extract(tmp_path / name, tmp_path, f"{builder}:network")
    direct = encoder.extract(model, tmp_path / "direct")
    assert made.spec.id == direct.spec.id


def test_weights_of_keras_2(tmp_path, builder):
    """Files in the legacy layout, which save_weights of Keras 2 writes."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    model = small_network(seed=9)
    with h5py.File(tmp_path / "old.h5", "w") as archive:
        save_weights_to_hdf5_group(archive, model)
    made = extract(tmp_path / "old.h5", tmp_path, f"{builder}:network")
    assert made.spec.id == encoder.extract(model, tmp_path / "direct").spec.id


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("other", "do not fit the network"),
        ("without_the_last", "found no place in the network|do not fit"),
        ("nothing", "gives NoneType, not a keras.Model"),
        ("missing", "can't be called"),
    ],
)
def test_what_does_not_fit(tmp_path, builder, function, message):
    small_network().save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InputError, match=message):
        extract(tmp_path / "w.weights.h5", tmp_path, f"{builder}:{function}")


def test_a_module_that_is_not_there(tmp_path):
    small_network().save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InputError, match=r"--builder 'no_such:thing' can't be called"):
        extract(tmp_path / "w.weights.h5", tmp_path, "no_such:thing")


def test_shards(tmp_path, builder):
    model = small_network(seed=9)
    model.save_weights(tmp_path / "w.weights.json", max_shard_size=5e-6)
    shards = sorted(tmp_path.glob("w_*.weights.h5"))
    assert len(shards) > 1
    made = extract(tmp_path / "w.weights.json", tmp_path, f"{builder}:network")
    assert made.spec.id == encoder.extract(model, tmp_path / "direct").spec.id
    shards[0].unlink()
    with pytest.raises(InputError, match=rf"names shards that are not there: {shards[0].name}"):
        extract(tmp_path / "w.weights.json", tmp_path, f"{builder}:network")


def test_one_weight_that_is_in_no_file(tmp_path, builder):
    """A file of another network has as many weights of the same shapes."""
    import h5py

    small_network().save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5", "r+") as archive:
        extra = archive.create_group("layers/stranger/vars")
        extra["0"] = np.ones(3, np.float32)
    with pytest.raises(InputError, match=r"1 weights in .* found no place"):
        extract(tmp_path / "w.weights.h5", tmp_path, f"{builder}:network")


def test_shards_in_another_folder(tmp_path, builder):
    index = tmp_path / "m.weights.json"
    index.write_text('{"metadata": {}, "weight_map": {"/layers": "../../other.weights.h5"}}')
    with pytest.raises(InputError, match=r"shards in another folder: \.\./\.\./other"):
        load_model(index, builder=f"{builder}:network")
    for text in ("[]", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 7}}', "["):
        index.write_text(text)
        with pytest.raises(InputError, match=r"m\.weights\.json"):
            load_model(index, builder=f"{builder}:network")
