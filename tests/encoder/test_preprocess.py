import keras
import numpy as np
import pytest

from encoder.preprocess import preprocess

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
UTILS = keras.applications


@pytest.mark.parametrize(
    ("mode", "function"),
    [
        ("caffe", UTILS.vgg16.preprocess_input),
        ("tf", UTILS.mobilenet.preprocess_input),
        ("torch", UTILS.densenet.preprocess_input),
    ],
)
def test_modes_are_those_of_keras_applications(mode, function):
    expected = function(IMAGES.astype(np.float32))
    # keras divides by the deviation in NumPy, here TensorFlow does: one unit in the last place.
    np.testing.assert_allclose(preprocess(IMAGES, mode).numpy(), expected, rtol=0, atol=5e-7)


def test_unit_and_none():
    np.testing.assert_array_equal(preprocess(IMAGES, "unit").numpy(), np.float32(IMAGES) / 255)
    np.testing.assert_array_equal(preprocess(IMAGES, "none").numpy(), np.float32(IMAGES))
