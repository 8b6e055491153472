import keras
import numpy as np
import pytest

from encoder.network.cut import Recipe, cut_encoder
from encoder.network.fingerprint import encoder_id
from tests.conftest import small_network

SETTINGS = {"pooling": "gap", "resize": "bilinear"}


def id_of(model, layer="pool2", **settings):
    return encoder_id(cut_encoder(model, Recipe(layer)).backbone, {**SETTINGS, **settings})


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_file_format_does_not_matter(tmp_path, name):
    model = small_network()
    model.save(tmp_path / name)
    assert id_of(keras.saving.load_model(tmp_path / name, compile=False)) == id_of(model)


def test_training_settings_and_cut_off_layers_do_not_matter():
    model, other = small_network(), small_network()
    for layer in other.layers:
        layer.trainable = False
    kernel, bias = other.get_layer("out").get_weights()
    other.get_layer("out").set_weights([kernel + 1, bias])
    assert id_of(model) == id_of(other)


def test_one_bit_of_one_weight_matters():
    model = small_network()
    before = id_of(model)
    kernel, bias = model.get_layer("conv1").get_weights()
    kernel.view(np.uint32).reshape(-1)[5] ^= 1
    model.get_layer("conv1").set_weights([kernel, bias])
    assert id_of(model) != before


def test_tap_and_settings_matter():
    model = small_network()
    ids = [
        id_of(model),
        id_of(model, "pool1"),
        id_of(model, "pool1,pool2"),
        id_of(model, "pool2,pool1"),
        id_of(model, pooling="max"),
        id_of(model, resize="nearest"),
    ]
    assert len(set(ids)) == len(ids)


def test_a_layers_setting_without_weights_matters():
    def network(pool):
        x = inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, pool(x))

    one, two = keras.layers.MaxPooling2D(2), keras.layers.MaxPooling2D(2, padding="same")
    assert id_of(network(one), 1) != id_of(network(two), 1)


def test_constants_in_the_graph_matter():
    def network(scale):
        x = inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, keras.layers.MaxPooling2D(2)(x / scale))

    assert id_of(network(127.5), -1) != id_of(network(255.0), -1)


def test_the_order_of_channels_in_the_graph_matters():
    def network(step):
        x = inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, keras.layers.MaxPooling2D(2)(x[..., ::step]))

    assert id_of(network(1), -1) != id_of(network(-1), -1)


def test_names_inside_a_wrapper_do_not_matter():
    def network():
        keras.utils.set_random_seed(1)
        x = inputs = keras.Input((8, 8, 3))
        wrapped = keras.layers.SpectralNormalization(keras.layers.Conv2D(4, 3), name="wrapper")
        return keras.Model(inputs, wrapped(x))

    assert id_of(network(), -1) == id_of(network(), -1)
