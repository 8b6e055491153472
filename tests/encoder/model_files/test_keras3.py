"""Files that earlier versions of Keras 3 wrote."""

import json
import zipfile

import keras
import numpy as np
import pytest

from encoder.errors import InputError
from encoder.model_files.keras3 import modernize_keras3
from encoder.model_files.load import load_model

IMAGES = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype(np.float32)


def backbone():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    return keras.Model(image, keras.layers.MaxPooling2D(name="pool")(x), name="backbone")


def in_sequential():
    return keras.Sequential([keras.Input((16, 16, 3)), backbone(), keras.layers.Flatten()])


def in_two():
    inner = keras.Sequential([keras.Input((16, 16, 3)), backbone(), keras.layers.ReLU()])
    return keras.Sequential([keras.Input((16, 16, 3)), inner, keras.layers.Dense(2)])


def shared():
    image = keras.Input((16, 16, 3))
    inner = backbone()
    x = keras.layers.Add()([inner(image), inner(keras.layers.ReLU()(image))])
    return keras.Model(image, x)


def augmented():
    augment = keras.layers.RandomRotation(0.5), keras.layers.RandomZoom(0.5)
    layers = [keras.Input((16, 16, 3)), *augment, backbone(), keras.layers.Flatten()]
    return keras.Sequential(layers)


def as_earlier(config):
    """The config as Keras 3.0 to 3.3 write it, as far as it matters here."""
    if isinstance(config, dict):
        settings = config.get("config")
        if config.get("class_name") == "Functional":
            settings["output_layers"] = [settings["output_layers"]]
            settings["input_layers"] = [settings["input_layers"]]
        if config.get("class_name") == "RandomRotation":
            settings["value_range"] = [0, 255]
    inner = config.values() if isinstance(config, dict) else config
    for each in inner:
        if isinstance(each, dict | list):
            as_earlier(each)
    return config


def earlier(model, folder, version="3.3.0"):
    model.save(folder / "now.keras")
    with (
        zipfile.ZipFile(folder / "now.keras") as now,
        zipfile.ZipFile(folder / "m.keras", "w") as old,
    ):
        for name in now.namelist():
            data = now.read(name)
            if name == "config.json":
                data = json.dumps(as_earlier(json.loads(data)))
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "keras_version": version})
            old.writestr(name, data)
    return folder / "m.keras"


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("make", [in_sequential, in_two, shared, augmented])
def test_nested_models_that_list_their_one_output(tmp_path, make, trust):
    model = make()
    loaded = load_model(earlier(model, tmp_path), trust=trust)[0]
    found = keras.tree.flatten(loaded(IMAGES, training=False))[0]
    np.testing.assert_allclose(found, model(IMAGES, training=False), atol=1e-6)


def test_what_a_model_itself_returns_stays():
    config = {"class_name": "Functional", "config": {"output_layers": [["x", 0, 0]], "layers": []}}
    assert not modernize_keras3(config, "3.5.0")
    assert not modernize_keras3([], "3.5.0")


@pytest.mark.parametrize("value", [None, 3, [], [[]], {"config": 3}, {"config": [{"config": {}}]}])
def test_damaged_configs(value):
    assert not modernize_keras3(value, "3.5.0")


@pytest.mark.parametrize("version", ["3.0.5", "3.5.0"])
def test_a_random_crop_that_took_the_middle_at_inference(tmp_path, version):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.RandomCrop(8, 6)])
    found = load_model(earlier(model, tmp_path, version))[0](IMAGES, training=False)
    # 8 by 6 is 16 by 12 at the image's height; 2 pixels are cut off at each side.
    expected = keras.ops.image.resize(IMAGES[:, :, 2:14], (8, 6))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_random_crop_that_does_nothing_at_inference(tmp_path):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.RandomCrop(8, 6)])
    found = load_model(earlier(model, tmp_path, "3.10.0"))[0](IMAGES, training=False)
    np.testing.assert_array_equal(found, IMAGES)


def test_a_random_crop_that_took_another_place(tmp_path):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.RandomCrop(8, 6)])
    with pytest.raises(InputError, match=r"\(RandomCrop\) is from Keras 3.7.0"):
        load_model(earlier(model, tmp_path, "3.7.0"))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_attention_in_an_h5_file(tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Reshape((64, 12))(image)
    x = keras.layers.GroupQueryAttention(4, 4, 2)(x, x)
    model = keras.Model(image, keras.layers.Attention()([x, x]))
    model.save(tmp_path / "m.h5")
    np.testing.assert_allclose(load_model(tmp_path / "m.h5")[0](IMAGES), model(IMAGES), atol=1e-5)


def test_layers_of_keras_applications(tmp_path):
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    image = keras.Input((16, 16, 3))
    x = StochasticDepth(0.1)(LayerScale(0.3, 3)(image))
    model = keras.Model(image, CustomScaleLayer(0.5)([x, image]))
    model.save(tmp_path / "m.keras")
    found = load_model(tmp_path / "m.keras")[0](IMAGES)
    np.testing.assert_allclose(found, model(IMAGES), atol=1e-6)


def test_a_custom_layer_of_such_a_name_is_refused(tmp_path):
    with keras.saving.custom_object_scope({}):

        @keras.saving.register_keras_serializable(package="Custom")
        class LayerScale(keras.layers.Layer):
            def call(self, x):
                return x

        try:
            image = keras.Input((16, 16, 3))
            keras.Model(image, LayerScale()(image)).save(tmp_path / "m.keras")
            with pytest.raises(InputError, match="needs code"):
                load_model(tmp_path / "m.keras")
        finally:
            del keras.saving.get_custom_objects()["Custom>LayerScale"]
