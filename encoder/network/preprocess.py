"""Preprocess pixels inside the model call, before the first layer.

"caffe", "tf" and "torch" are the modes of
``keras.applications.imagenet_utils.preprocess_input``; "unit" divides by 255, and "none" leaves
pixels at 0..255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

    from encoder.spec import PreprocessMode

# Means and standard deviations of the ImageNet training set, on the 0..255 scale for "caffe"
# (Simonyan and Zisserman 2014, as trained in Caffe) and 0..1 for "torch" (torchvision).
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)


def preprocess(images: keras.KerasTensor, mode: PreprocessMode) -> keras.KerasTensor:
    """Preprocess a uint8 (n, height, width, channels) tensor to float32 of the same shape.

    Args:
        images: pixels 0..255; three channels are in RGB order.
        mode: "caffe" (to BGR, minus mean), "tf" (to -1..1), "torch" (to 0..1, minus mean, divided
            by the standard deviation), "unit" (to 0..1) or "none".
    """
    from keras import ops

    # When TensorFlow compiles "/ constant", it makes it "* (1 / constant)", whose last bit differs.
    # It does not change this division.
    divide = ops.divide_no_nan
    pixels = ops.cast(images, "float32")
    if mode == "caffe":
        return pixels[..., ::-1] - ops.convert_to_tensor(CAFFE_MEAN_BGR, "float32")
    if mode == "tf":
        return divide(pixels, 127.5) - 1.0
    if mode == "torch":
        mean, deviation = (
            ops.convert_to_tensor(c, "float32") for c in (TORCH_MEAN_RGB, TORCH_STD_RGB)
        )
        return divide(divide(pixels, 255.0) - mean, deviation)
    if mode == "unit":
        return divide(pixels, 255.0)
    return pixels


def preprocess_numpy(images: NDArray[np.uint8], mode: PreprocessMode) -> NDArray[np.float32]:
    """Compute what preprocess computes, in NumPy and to the last bit.

    Args:
        images: (..., height, width, channels).
        mode: see preprocess.
    """
    pixels = images.astype(np.float32)
    if mode == "caffe":
        return pixels[..., ::-1] - np.asarray(CAFFE_MEAN_BGR, np.float32)
    if mode == "tf":
        return pixels / np.float32(127.5) - np.float32(1.0)
    if mode == "torch":
        mean, deviation = (np.asarray(c, np.float32) for c in (TORCH_MEAN_RGB, TORCH_STD_RGB))
        return (pixels / np.float32(255.0) - mean) / deviation
    if mode == "unit":
        return pixels / np.float32(255.0)
    return pixels
