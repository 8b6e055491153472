"""Networks whose layers have their channels first, and a default format that puts them first."""

import keras
import numpy as np
import pytest
from keras import layers

import encoder
from encoder.cli.inspection import describe
from tests.conftest import small_network


def network(first=True, inside=False, nested=False, open_size=False):
    """Convolutions with their channels first; inside, between two transpositions."""
    options = {"data_format": "channels_first" if first else "channels_last", "padding": "same"}
    sides = (None, None) if open_size else (32, 32)
    shape = (3, *sides) if first and not inside else (*sides, 3)
    x = inputs = keras.Input(shape)
    if inside:
        x = layers.Permute((3, 1, 2), name="to_first")(x)
    body = [
        layers.Conv2D(8, 3, strides=2, name="conv1", **options),
        layers.BatchNormalization(axis=1 if first else -1, name="norm"),
        layers.ReLU(name="relu"),
        layers.Conv2D(6, 3, strides=2, name="conv2", **options),
    ]
    if nested:
        x = keras.Sequential(body, name="body")(x)
    else:
        for layer in body:
            x = layer(x)
    if inside:
        x = layers.Permute((2, 3, 1), name="to_last")(x)
    if not open_size:
        x = layers.Flatten(data_format=None if inside else options["data_format"])(x)
        x = layers.Dense(4, name="dense")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "options", [{}, {"nested": True}, {"open_size": True}, {"open_size": True, "nested": True}]
)
@pytest.mark.parametrize("input_size", [None, (32, 32)])
def test_images_with_their_channels_first_are_refused_by_name(tmp_path, options, input_size):
    model = network(**options)
    message = r"channels first, \(3, .*layer 'conv1' \(Conv2D\).*set_image_data_format"
    with pytest.raises(encoder.InputError, match=message):
        encoder.extract(model, tmp_path, layer="conv2", input_size=input_size)
    with pytest.raises(encoder.InputError, match=message):
        describe(model, input_size)


def test_the_advice_gives_the_same_network():
    """Kernels, and Dense behind Flatten, have the same weights in both formats."""
    old = network()
    old.set_weights([np.random.default_rng(0).random(w.shape) for w in old.weights])
    new = network(first=False)
    new.set_weights(old.get_weights())
    images = np.random.default_rng(1).random((2, 32, 32, 3)).astype(np.float32)
    expected = old(np.moveaxis(images, -1, 1)).numpy()
    np.testing.assert_allclose(new(images).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("layer", ["conv1", "norm", "relu", "conv2", "to_last,relu"])
def test_maps_with_their_channels_first_are_refused_by_name(tmp_path, layer):
    """They were pooled over the wrong axes: the vector had a value for each column."""
    name = layer.rpartition(",")[2]
    with pytest.raises(encoder.InputError, match=rf"layer '{name}' gives .*channels first, \(\d"):
        encoder.extract(network(inside=True), tmp_path, layer=layer)


def test_maps_that_were_moved_back_are_pooled_right(tmp_path):
    made = encoder.extract(network(inside=True), tmp_path, layer="to_last")
    assert made.spec.dim == 6
    assert encoder.load(tmp_path).spec.id == made.spec.id


def test_auto_does_not_compare_sizes_of_maps_with_their_channels_first(tmp_path):
    with pytest.raises(encoder.InputError, match=r"auto can't tell.*channels_first"):
        encoder.extract(network(inside=True), tmp_path)
    assert describe(network(inside=True))["auto"]["layer"] is None


@pytest.fixture
def channels_first_by_default():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("pooling", ["max", "flatten"])
def test_the_default_format_does_not_matter(tmp_path, pooling):
    model = small_network()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    before = encoder.extract(model, tmp_path / "last", pooling=pooling)
    try:
        keras.config.set_image_data_format("channels_first")
        made = encoder.extract(model, tmp_path / "first", pooling=pooling)
        loaded = encoder.load(tmp_path / "last")
    finally:
        keras.config.set_image_data_format("channels_last")
    assert made.spec.id == before.spec.id == loaded.spec.id
    for each in (made, loaded):
        np.testing.assert_array_equal(each.embed(images), before.embed(images))


def test_the_reference_network_has_its_channels_last(channels_first_by_default):
    model = encoder.vgg16_encoder_decoder((32, 32, 1))
    assert model.get_layer("pool_5").output.shape == (None, 1, 1, 512)
    assert keras.config.image_data_format() == "channels_first"
