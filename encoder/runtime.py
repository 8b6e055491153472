"""An encoder in use: pixels in, embeddings out, by one compiled call."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from encoder.errors import InputError
from encoder.images import decode_image
from encoder.pooling import POOLING_PREFIX
from encoder.preprocess import preprocess
from encoder.spec import EncoderSpec

_LARGEST_CALL = 256  # images; what one call of the model may hold in memory at once


class Encoder:
    """An encoder with its weights, ready to embed images. Safe to use from several threads.

    Attributes:
        spec: everything that decides its vectors; the contents of ``encoder.json``.
        model: the keras.Model, preprocessed float32 images to (n, dim).
    """

    def __init__(self, model: Any, spec: EncoderSpec) -> None:
        self.spec = spec
        self.model = model
        if spec.precision != "float32":
            _compute_in(model, spec.precision)
        # XLA is slower than oneDNN on a CPU, and free batch sizes would recompile it on a GPU.
        self._compute = tf.function(
            self._forward,
            input_signature=[
                tf.TensorSpec((None, spec.height, spec.width, spec.channels), tf.uint8)
            ],
            jit_compile=False,
        )

    def _forward(self, images: Any) -> Any:
        vectors = self.model(preprocess(images, self.spec.preprocess), training=False)
        return tf.cast(vectors, tf.float32)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch of images.

        Args:
            images: uint8 (n, height, width, channels), RGB order, as decode gives them.

        Returns:
            float32 (n, dim).

        Raises:
            InputError: the images have another shape or dtype.
        """
        spec, images = self.spec, np.asarray(images)
        expected = (spec.height, spec.width, spec.channels)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
            raise InputError(
                f"images are {images.dtype} {images.shape}; expected uint8 (n, {spec.height}, "
                f"{spec.width}, {spec.channels}), as Encoder.decode gives one"
            )
        vectors = [
            self._compute(images[start : start + _LARGEST_CALL]).numpy()
            for start in range(0, len(images), _LARGEST_CALL)
        ]
        if not vectors:
            return np.empty((0, spec.dim), np.float32)
        return np.concatenate(vectors) if len(vectors) > 1 else np.asarray(vectors[0])

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode an image file to uint8 (height, width, channels), as the spec says.

        See ``docs/images.md`` for what is decoded, and how.

        Raises:
            OSError, ValueError, SyntaxError, MemoryError: the data is no image, a damaged one, one
                of which data is missing, or one of more than 200 million pixels.
        """
        return decode_image(data, self.spec).pixels

    def warm_up(self, batch_size: int) -> None:
        """Compile and run once, so that the first real batch is as fast as the others.

        A GPU sees a whole batch, for which it then has its kernels and its memory; on a CPU one
        image does.
        """
        spec = self.spec
        count = batch_size if tf.config.list_physical_devices("GPU") else 1
        self.embed(np.zeros((count, spec.height, spec.width, spec.channels), np.uint8))


def _compute_in(model: Any, dtype: str) -> None:
    """Let the layers compute in another dtype; weights stay float32, and so does the pooling."""
    for layer in model.layers:
        if not layer.name.startswith(POOLING_PREFIX):
            layer.dtype_policy = keras.DTypePolicy(f"mixed_{dtype}")
