"""Run the network itself."""

from __future__ import annotations

from collections.abc import Callable

import keras

from encoder.compute.engines.base import Compute, Device, Engine
from encoder.compute.engines.keras.base import Tensor
from encoder.compute.engines.keras.registry import backend
from encoder.network.pooling import POOLING_PREFIX
from encoder.network.preprocess import preprocess
from encoder.spec import EncoderSpec


class KerasEngine(Engine):
    """A model that Keras computes.

    Args:
        model: takes preprocessed float32 images, returns (n, dim).
        spec: the encoder's spec.
    """

    name, depends_on_batch = "keras", True

    def __init__(self, model: keras.Model, spec: EncoderSpec) -> None:
        if spec.precision in ("bfloat16", "float16"):
            _compute_in(model, spec.precision)
        self.model = model
        self._spec = spec
        self._backend = backend()
        self.software = f"{self._backend.name} {self._backend.version}"
        self.fixed_shapes = self._backend.fixed_shapes
        self.devices = self._backend.devices()
        self.copies = [self._compiled(device) for device in self.devices]

    def is_out_of_memory(self, error: Exception) -> bool:
        return self._backend.is_out_of_memory(error)

    def gpu_advice(self) -> str:
        return f"{self._backend.name} can't use it: see 'python -m pipeline doctor'"

    def _compiled(self, device: Device) -> Compute:
        spec = self._spec
        shape = (spec.height, spec.width, spec.channels)
        return self._backend.compile(self.model, self._forward, shape, spec.precision, device)

    def _forward(self, model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return keras.ops.cast(model(preprocess(images, self._spec.preprocess)), "float32")


def _compute_in(model: keras.Model, dtype: str) -> None:
    """Make the layers compute in another dtype; weights and pooling stay float32."""
    for layer in model.layers:
        if not layer.name.startswith(POOLING_PREFIX):
            layer.dtype_policy = keras.DTypePolicy(f"mixed_{dtype}")
