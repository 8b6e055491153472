import keras
import numpy as np
import pytest
import tensorflow as tf

from encoder.network.preprocess import preprocess

# Every value in every channel, in many combinations.
VALUES = np.arange(256, dtype=np.uint8)
RED, GREEN = np.meshgrid(VALUES, VALUES)
IMAGES = np.stack([RED, GREEN, RED ^ GREEN], axis=-1)[np.newaxis]
UTILS = keras.applications


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("mode", "function"),
    [
        ("caffe", UTILS.vgg16.preprocess_input),
        ("caffe", UTILS.resnet.preprocess_input),
        ("tf", UTILS.mobilenet.preprocess_input),
        ("tf", UTILS.xception.preprocess_input),
        ("torch", UTILS.densenet.preprocess_input),
        ("unit", lambda pixels: pixels / np.float32(255)),
        ("none", lambda pixels: pixels),
    ],
)
def test_modes_are_those_of_keras_applications_to_the_last_bit(mode, function, compiled):
    expected = function(IMAGES.astype(np.float32))

    def compute(images):
        return preprocess(images, mode) * 1.0

    found = (tf.function(compute) if compiled else compute)(IMAGES).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
