"""Ready-made networks: the reference encoder-decoder, and VGG16 with its ImageNet weights."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from encoder.errors import InputError

if TYPE_CHECKING:
    import keras

# Convolutions and filters of the five blocks: configuration D of Simonyan and Zisserman,
# "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, table 1.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_DOWNLOAD_TIMEOUT_SECONDS = 20.0


@contextlib.contextmanager
def _channels_last() -> Iterator[None]:
    """Whatever the user's keras.json has as its default."""
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


@_channels_last()
def vgg16_encoder_decoder(input_size: tuple[int, int, int] = (200, 200, 1)) -> keras.Model:
    """The reference network: VGG16's convolutions, then a decoder back to the input's shape.

    Args:
        input_size: (height, width, channels); height and width at least 32 pixels.

    Returns:
        An untrained model, (n, height, width, channels) float32 to the same shape. The encoder's
        layers are conv1_1 ... conv5_3 and pool_1 ... pool_5; the decoder's layers are up_5,
        deconv5_1 ... up_1, deconv1_1 and reconstruction.

    Raises:
        InputError: the height or width is less than 32.
    """
    import keras

    height, width, channels = input_size
    if min(height, width) < 32:
        raise InputError(f"input_size is {height}x{width}; five poolings need at least 32x32")
    x = inputs = keras.Input(shape=input_size, name="input")
    sizes = []
    for block, (count, filters) in enumerate(VGG16_BLOCKS, start=1):
        sizes.append((x.shape[1], x.shape[2]))
        for number in range(1, count + 1):
            x = _convolution(filters, f"conv{block}_{number}")(x)
        x = keras.layers.MaxPooling2D(2, strides=2, name=f"pool_{block}")(x)
    for block, (_, filters) in reversed(list(enumerate(VGG16_BLOCKS, start=1))):
        x = keras.layers.UpSampling2D(2, name=f"up_{block}")(x)
        missing = [want - have for want, have in zip(sizes[block - 1], x.shape[1:3], strict=True)]
        if any(missing):  # pooling an odd size rounds down
            x = keras.layers.ZeroPadding2D(((0, missing[0]), (0, missing[1])), name=f"pad_{block}")(
                x
            )
        x = _convolution(filters, f"deconv{block}_1")(x)
    outputs = keras.layers.Conv2D(channels, 3, padding="same", name="reconstruction")(x)
    return keras.Model(inputs, outputs, name="vgg16_encoder_decoder")


def _convolution(filters: int, name: str) -> keras.layers.Layer:
    import keras

    # He et al., "Delving Deep into Rectifiers", 2015: a network this deep learns badly without it.
    return keras.layers.Conv2D(
        filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
    )


@_channels_last()
def vgg16_imagenet(weights: str | os.PathLike[str] | None = None) -> keras.Model:
    """VGG16 without its classifier, with the weights published for ImageNet.

    Args:
        weights: a weights file (.h5, .weights.h5) of the convolutional part; by default Keras
            downloads its own copy (59 MB) and keeps it in its cache.

    Returns:
        A model, (n, 224, 224, 3) float32 preprocessed in mode "caffe" to (n, 7, 7, 512) float32.

    Raises:
        InputError: the weights file does not fit.
        OSError: the download failed.
    """
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)  # Keras sets no time-out
    try:
        return keras.applications.VGG16(
            include_top=False,
            weights="imagenet" if weights is None else os.fspath(weights),
            input_shape=(224, 224, 3),
            name="vgg16",
        )
    except Exception as error:  # Keras wraps what urllib raises in a bare Exception
        if weights is None:
            raise OSError(f"Keras could not download VGG16's ImageNet weights: {error}") from error
        raise InputError(
            f"{os.fspath(weights)!r} does not hold the weights of VGG16's 13 convolutions: {error}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
