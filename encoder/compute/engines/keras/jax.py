"""Keras on JAX: devices, and the compiled call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.base import Compute, Device, Fetch
from encoder.compute.engines.keras.base import Backend, Forward, Tensor
from encoder.compute.machine import cpu_name

if TYPE_CHECKING:
    import jax
    import keras

    from encoder.spec import Precision

    Weights = list[list[jax.Array]]  # trainable, then the others

_PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}  # for the others, the dtype decides


class Jax(Backend):
    """JAX: ``jax.jit``, weights on each device."""

    name, package, fixed_shapes = "JAX", "jax", True

    def devices(self) -> list[Device]:
        import jax

        try:
            found = jax.devices()
        except RuntimeError:  # a driver that does not work
            found = jax.devices("cpu")
        return [
            Device(True, each.device_kind, each)
            if each.platform == "gpu"
            else Device(False, cpu_name(), each)
            for each in found
        ]

    def compile(
        self,
        model: keras.Model,
        forward: Forward,
        shape: tuple[int, ...],
        precision: Precision,
        device: Device,
    ) -> Compute:
        import jax

        weights = jax.device_put(
            [
                [variable.value for variable in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables)
            ],
            device.handle,
        )

        def compute_all(weights: Weights, images: Tensor) -> Tensor:
            def stateless(pixels: Tensor) -> Tensor:
                return model.stateless_call(*weights, pixels, training=False)[0]

            with jax.default_matmul_precision(_PRECISIONS.get(precision, "default")):
                return forward(stateless, images)

        compiled = jax.jit(compute_all)

        def compute(images: NDArray[np.uint8]) -> Fetch:
            vectors = compiled(weights, jax.device_put(images, device.handle))
            return lambda: np.asarray(vectors)

        return compute

    def is_out_of_memory(self, error: Exception) -> bool:
        return "RESOURCE_EXHAUSTED" in str(error)
