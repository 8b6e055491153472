"""A loaded encoder: pixels in, embeddings out, in one compiled call."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.base import Compute, Device, Fetch, Tensor
from encoder.compute.engines.registry import backend
from encoder.compute.machine import CPU_CALL, gpus_without_driver, nvidia_gpus
from encoder.errors import InputError
from encoder.images.decode import decode_image
from encoder.network.pooling import POOLING_PREFIX
from encoder.network.preprocess import preprocess
from encoder.spec import EncoderSpec

GPU_CALL = 256  # images per call of the model at most


class Encoder:
    """An encoder with its weights, ready to embed images. Safe to use from several threads.

    Attributes:
        spec: all settings that affect its vectors; the contents of ``encoder.json``.
        model: takes preprocessed float32 images, returns (n, dim).
        devices: every GPU, each with its own copy of the weights; or the CPU.
    """

    def __init__(self, model: keras.Model, spec: EncoderSpec) -> None:
        self.spec = spec
        self.model = model
        if spec.precision in ("bfloat16", "float16"):
            _compute_in(model, spec.precision)
        self._backend = backend()
        self.devices = self._backend.devices()
        self._most = GPU_CALL if self.devices[0].is_gpu else CPU_CALL
        self._lock = threading.Lock()
        self._turns = itertools.count()
        self._copies = [self._compiled(device) for device in self.devices]
        # How many calls may be in flight.
        self._ahead = sum(device.calls for device in self.devices)

    def _compiled(self, device: Device) -> Compute:
        spec = self.spec
        shape = (spec.height, spec.width, spec.channels)
        return self._backend.compile(self.model, self._forward, shape, spec.precision, device)

    def _forward(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return keras.ops.cast(model(preprocess(images, self.spec.preprocess)), "float32")

    def embed(
        self, images: NDArray[np.uint8], batch_size: int | None = None
    ) -> NDArray[np.float32]:
        """Embed images, at most 8 in a call of the model on a CPU, 256 on a GPU.

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
                if size == 1 or not self._backend.is_out_of_memory(error):
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
            if fill:
                call = _filled(call, size)
            elif self._backend.fixed_shapes:  # so that few shapes are compiled
                call = _filled(call, 1 << (len(call) - 1).bit_length())
            compute = self._copies[next(self._turns) % len(self._copies)]
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
        """The devices, the backend and the precision, and why there is no GPU, in one line."""
        names = [device.name for device in self.devices]
        counts = {name: names.count(name) for name in names}
        text = ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())
        text += f" ({self._backend.name} {self._backend.version}, {self.spec.precision})"
        if self.devices[0].is_gpu:
            return text
        found = nvidia_gpus()
        if gpus_without_driver():
            return f"{text}; there is a GPU, but its driver is not loaded"
        if not found:
            return f"{text}; there is no GPU"
        return (
            f"{text}; there is a GPU, {found[0]}, but {self._backend.name} can't use it: see "
            "'python -m pipeline doctor'"
        )

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
        if self.devices[0].is_gpu or self._backend.fixed_shapes:
            count = min(batch_size, self._most) * len(self.devices)
            blank = np.zeros((count, spec.height, spec.width, spec.channels), np.uint8)
            self.embed(blank, batch_size)


def _filled(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The images, filled up to a count with black ones."""
    missing = count - len(images)
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images


def _compute_in(model: keras.Model, dtype: str) -> None:
    """Make the layers compute in another dtype; weights and pooling stay float32."""
    for layer in model.layers:
        if not layer.name.startswith(POOLING_PREFIX):
            layer.dtype_policy = keras.DTypePolicy(f"mixed_{dtype}")
