"""A loaded encoder: pixels in, embeddings out."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.base import Device, Engine, Fetch
from encoder.compute.machine import CPU_CALL, gpus_without_driver, nvidia_gpus
from encoder.errors import InputError
from encoder.images.decode import decode_image
from encoder.spec import EncoderSpec

if TYPE_CHECKING:
    import keras

GPU_CALL = 256  # images per call of the engine at most


class Encoder:
    """An encoder with its weights, ready to embed images. Safe to use from several threads.

    Attributes:
        spec: all settings that affect its vectors; the contents of ``encoder.json``.
        engine: what computes; see encoder.compute.engines.base.
        devices: every GPU, each with its own copy of the weights; or the CPU.

    Args:
        spec, engine: see above.
        load_model: returns the Keras model, which is loaded only if somebody asks for it.
    """

    def __init__(
        self, spec: EncoderSpec, engine: Engine, load_model: Callable[[], keras.Model]
    ) -> None:
        self.spec = spec
        self.engine = engine
        self.devices: list[Device] = engine.devices
        self._load_model = load_model
        self._model: keras.Model | None = None
        self._most = GPU_CALL if self.devices[0].is_gpu else CPU_CALL
        self._lock = threading.Lock()
        self._turns = itertools.count()
        # How many calls may be in flight.
        self._ahead = sum(device.calls for device in self.devices)

    @property
    def model(self) -> keras.Model:
        """The Keras model: takes preprocessed float32 images, returns (n, dim)."""
        with self._lock:
            if self._model is None:
                self._model = self._load_model()
            return self._model

    def embed(
        self, images: NDArray[np.uint8], batch_size: int | None = None
    ) -> NDArray[np.float32]:
        """Embed images, at most 8 in a call of the engine on a CPU, 256 on a GPU.

        Several GPUs take calls in turn; the next call is sent while one is computed. After an
        out-of-memory error, calls have half as many images from then on.

        Args:
            images: uint8 (n, height, width, channels), RGB order, as decode returns them.
            batch_size: images in each call, at most 8 or 256; the last call is filled up. The last
                bits of a vector depend on how many images are computed together; with a fixed
                number, an image's vector does not depend on the other images.

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
        while True:
            size = min(batch_size or self._most, self._most)
            try:
                return self._embed(images, size, batch_size is not None)
            except Exception as error:
                if size == 1 or not self.engine.is_out_of_memory(error):
                    raise
                self._halve(size)

    def _embed(self, images: NDArray[np.uint8], size: int, fill: bool) -> NDArray[np.float32]:
        vectors = np.empty((len(images), self.spec.dim), np.float32)
        running: deque[tuple[int, Fetch]] = deque()

        def finish_first() -> None:
            start, fetch = running.popleft()
            made = vectors[start : start + size]
            made[:] = fetch()[: len(made)]

        for start in range(0, len(images), size):
            call = images[start : start + size]
            if fill and self.engine.depends_on_batch:
                call = _filled(call, size)
            elif self.engine.fixed_shapes:  # so that few shapes are compiled
                call = _filled(call, 1 << (len(call) - 1).bit_length())
            compute = self.engine.copies[next(self._turns) % len(self.devices)]
            running.append((start, compute(call)))
            if len(running) > self._ahead:
                finish_first()
        while running:
            finish_first()
        return vectors

    def _halve(self, size: int) -> None:
        with self._lock:
            if self._most < size:  # another thread has halved it already
                return
            self._most = size // 2
        logging.getLogger(__name__).warning(
            "%s has not enough memory for %d images at once: it gets %d from now on",
            *(self.devices[0].name, size, self._most),
        )

    @property
    def computes_on(self) -> str:
        """The devices, the engine and the precision, and why there is no GPU, in one line."""
        names = [device.name for device in self.devices]
        counts = {name: names.count(name) for name in names}
        text = ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())
        text += f" ({self.engine.software}, {self.spec.precision})"
        if self.devices[0].is_gpu:
            return text
        found = nvidia_gpus()
        if gpus_without_driver():
            return f"{text}; there is a GPU, but its driver is not loaded"
        if not found:
            return f"{text}; there is no GPU"
        return f"{text}; there is a GPU, {found[0]}, but {self.engine.gpu_advice()}"

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode an image file to uint8 (height, width, channels), as the spec defines.

        ``docs/images.md`` lists the formats and the rules.

        Raises:
            OSError, ValueError, SyntaxError, MemoryError: the data is no image, or the image is
                damaged, truncated or has more than 200 million pixels.
        """
        return decode_image(data, self.spec).pixels

    def warm_up(self, batch_size: int) -> None:
        """Compile, so that the first real batch is as fast as the others.

        A GPU also computes a full batch, so that its kernels are loaded and its memory allocated.
        """
        spec = self.spec
        if self.devices[0].is_gpu or self.engine.fixed_shapes:
            count = min(batch_size, self._most) * len(self.devices)
            blank = np.zeros((count, spec.height, spec.width, spec.channels), np.uint8)
            self.embed(blank, batch_size)


def _filled(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The images, filled up to a count with black ones."""
    missing = count - len(images)
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images
