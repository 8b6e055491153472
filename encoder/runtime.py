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

# Images per call of the model at most. On a CPU few are as fast as many; they fit its caches
# better, and the first vectors are there sooner.
CPU_CALL, _GPU_CALL = 8, 256


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
        self._most = _GPU_CALL if tf.config.list_physical_devices("GPU") else CPU_CALL
        # XLA is slower than oneDNN on a CPU, and free batch sizes would recompile it on a GPU.
        self._compute = tf.function(
            self._forward,
            input_signature=[
                tf.TensorSpec((None, spec.height, spec.width, spec.channels), tf.uint8)
            ],
            jit_compile=False,
            autograph=False,  # Keras keeps it out of its layers anyway, and it takes half a second
        )

    def _forward(self, images: Any) -> Any:
        vectors = self.model(preprocess(images, self.spec.preprocess), training=False)
        return tf.cast(vectors, tf.float32)

    def embed(
        self, images: NDArray[np.uint8], batch_size: int | None = None
    ) -> NDArray[np.float32]:
        """Embed images, 8 in a call of the model at most on a CPU, 256 on a GPU.

        Args:
            images: uint8 (n, height, width, channels), RGB order, as decode gives them.
            batch_size: make calls of exactly so many images, or of those 8 or 256 where these are
                fewer, and fill the last one up. The last bits of a vector depend on how many images
                are computed together; this way they are the same whatever comes with an image.

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
        size = min(batch_size or self._most, self._most)
        vectors = np.empty((len(images), spec.dim), np.float32)
        for start in range(0, len(images), size):
            call = images[start : start + size]
            count = len(call)
            if batch_size and count < size:
                call = np.concatenate([call, np.zeros((size - count, *expected), np.uint8)])
            vectors[start : start + count] = self._compute(call).numpy()[:count]
        return vectors

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode an image file to uint8 (height, width, channels), as the spec says.

        See ``docs/images.md`` for what is decoded, and how.

        Raises:
            OSError, ValueError, SyntaxError, MemoryError: the data is no image, a damaged one, one
                of which data is missing, or one of more than 200 million pixels.
        """
        return decode_image(data, self.spec).pixels

    def warm_up(self, batch_size: int) -> None:
        """Compile, so that the first real batch is as fast as the others.

        A GPU also sees a whole batch, for which it then has its kernels and its memory.
        """
        spec = self.spec
        self._compute.get_concrete_function()
        if tf.config.list_physical_devices("GPU"):
            self.embed(np.zeros((batch_size, spec.height, spec.width, spec.channels), np.uint8))


def _compute_in(model: Any, dtype: str) -> None:
    """Let the layers compute in another dtype; weights stay float32, and so does the pooling."""
    for layer in model.layers:
        if not layer.name.startswith(POOLING_PREFIX):
            layer.dtype_policy = keras.DTypePolicy(f"mixed_{dtype}")
