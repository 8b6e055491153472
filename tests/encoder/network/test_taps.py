import keras
import pytest

import encoder
from encoder.network.graph import trace
from encoder.network.taps import find_taps
from tests.conftest import small_network

APPLICATIONS = {
    "VGG16": "block5_pool",
    "VGG19": "block5_pool",
    "ResNet50": "conv5_block3_out",
    "ResNet50V2": "post_relu",
    "MobileNet": "conv_pw_13_relu",
    "EfficientNetB0": "top_activation",
    "DenseNet121": "relu",
}


def names(model, selector):
    return [tap.step.name for tap in find_taps(trace(model), selector)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("pool2", ["pool2"]),
        (4, ["pool2"]),
        ("4", ["pool2"]),
        (-3, ["pool2"]),
        ("pool1, -3", ["pool1", "pool2"]),
        (["pool1", -3], ["pool1", "pool2"]),
        ("auto", ["pool2"]),
    ],
)
def test_selectors(selector, expected):
    assert names(small_network(), selector) == expected


def test_indices_are_those_of_model_layers():
    model = encoder.vgg16_encoder_decoder((32, 32, 1))
    for index in (14, -20):
        assert names(model, index) == [model.layers[index].name]


@pytest.mark.parametrize(("name", "expected"), APPLICATIONS.items())
@pytest.mark.parametrize("top", [True, False])
def test_auto_takes_the_last_feature_map_of_classifiers(name, expected, top):
    build = getattr(keras.applications, name)
    model = build(weights=None, include_top=top, input_shape=(224, 224, 3))
    assert names(model, "auto") == [expected]


def test_auto_takes_the_bottleneck_of_the_reference_network():
    assert names(encoder.vgg16_encoder_decoder(), "auto") == ["pool_5"]


def test_auto_takes_the_bottleneck_of_a_network_with_skip_connections():
    x = inputs = keras.Input((32, 32, 3))
    left = keras.layers.Conv2D(4, 3, padding="same", name="left")(x)
    x = keras.layers.MaxPooling2D(name="down")(left)
    x = keras.layers.Conv2D(8, 3, padding="same", name="bottleneck")(x)
    x = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = keras.layers.Concatenate()([left, x])
    outputs = keras.layers.Conv2D(1, 1)(x)
    assert names(keras.Model(inputs, outputs), "auto") == ["bottleneck"]


def test_auto_refuses_where_two_branches_end_the_encoder():
    inputs = keras.Input((32, 32, 3))
    ends = [keras.layers.Conv2D(4, 3, strides=2, name=name)(inputs) for name in ("one", "two")]
    outputs = [keras.layers.GlobalAveragePooling2D()(end) for end in ends]
    with pytest.raises(
        encoder.InputError, match=r"can't tell.*candidates: \w+ \(15, 15, 4\), \w+ "
    ):
        names(keras.Model(inputs, outputs), "auto")


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("pool_2", "close names: pool2, pool1"),
        (7, "the model has 7 layers, 0 to 6 or -7 to -1"),
        ("", "names nothing in one of its parts"),
        ("pool1,", "names nothing in one of its parts"),
    ],
)
def test_wrong_selectors_say_what_there_is(selector, message):
    with pytest.raises(encoder.InputError, match=message):
        names(small_network(), selector)
