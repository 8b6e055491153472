import keras
import pytest

import encoder
from encoder.compute.operations import operations_per_image


def test_known_networks():
    """Published numbers of multiply-adds: 15.3, 3.9 and 0.3 thousand million."""
    vgg16 = encoder.vgg16_encoder_decoder((224, 224, 3))
    cut = encoder.get_encoder(vgg16, layer="pool_5", pooling="gap")
    assert operations_per_image(cut) == pytest.approx(2 * 15.35e9, rel=0.001)
    for made, expected in (
        (keras.applications.ResNet50, 3.86e9),
        (keras.applications.MobileNetV2, 0.3e9),
    ):
        inner = made(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
        assert operations_per_image(inner) == pytest.approx(2 * expected, rel=0.01)
        x = keras.Input((224, 224, 3))
        assert operations_per_image(keras.Model(x, inner(x))) == operations_per_image(inner)


def test_kinds_of_layers():
    x = keras.Input((8, 8, 4))
    layers = keras.layers
    for layer, expected in (
        (layers.Conv2D(5, 3, groups=1), 6 * 6 * 9 * 4 * 5),
        (layers.Conv2D(4, 3, groups=2, padding="same"), 64 * 9 * 2 * 4),
        (layers.DepthwiseConv2D(3, padding="same", strides=2), 16 * 9 * 4),
        (layers.SeparableConv2D(6, 3, padding="same"), 64 * (9 * 4 + 4 * 6)),
        (layers.Conv2DTranspose(3, 2, strides=2), 64 * 4 * 4 * 3),
        (layers.Dense(7), 64 * 4 * 7),
        (layers.BatchNormalization(), 0),
    ):
        assert operations_per_image(keras.Model(x, layer(x))) == 2 * expected
