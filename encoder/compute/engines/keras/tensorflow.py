"""Keras on TensorFlow: devices, memory, and the compiled call."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.base import Compute, Device, Fetch
from encoder.compute.engines.keras.base import Backend, Forward
from encoder.compute.machine import cpu_name, usable_cores
from encoder.spec import Precision


class TensorFlow(Backend):
    """TensorFlow: a ``tf.function`` per device; a CPU may compute one call per core at once."""

    name, package, fixed_shapes = "TensorFlow", "tensorflow", False

    def devices(self) -> list[Device]:
        import tensorflow as tf

        gpus = tf.config.get_visible_devices("GPU")
        try:
            for gpu in gpus:
                with contextlib.suppress(RuntimeError):  # TensorFlow has initialised it already
                    tf.config.experimental.set_memory_growth(gpu, True)
            details = tf.config.experimental.get_device_details
            names = [details(gpu).get("device_name", "GPU") for gpu in gpus]
            logical = tf.config.list_logical_devices("GPU")
        except (RuntimeError, tf.errors.OpError):  # a driver that does not work
            tf.config.set_visible_devices([], "GPU")
            names, logical = [], []
        if logical:
            names *= len(logical) // len(names)
            return [
                Device(True, name, each.name) for name, each in zip(names, logical, strict=True)
            ]
        return [
            Device(False, cpu_name(), each.name, _calls_at_once())
            for each in tf.config.list_logical_devices("CPU")
        ]

    def compile(
        self,
        model: keras.Model,
        forward: Forward,
        shape: tuple[int, ...],
        precision: Precision,
        device: Device,
    ) -> Compute:
        import tensorflow as tf

        allow_tf32 = tf.config.experimental.enable_tensor_float_32_execution
        with tf.device(device.handle):
            if device != self.devices()[0]:  # the first device has the weights already
                copy = keras.models.clone_model(model)
                copy.set_weights(model.get_weights())
                model = copy
            # No XLA: on a CPU it is slower than oneDNN, on a GPU it recompiles for each batch size.
            # No autograph: Keras does not use it in layers, and leaving it out saves half a second.
            compiled = tf.function(
                lambda images: forward(lambda pixels: model(pixels, training=False), images),
                input_signature=[tf.TensorSpec((None, *shape), tf.uint8)],
                jit_compile=False,
                autograph=False,
            )
            compiled.get_concrete_function()

        def compute(images: NDArray[np.uint8]) -> Fetch:
            allow_tf32(precision == "tf32")
            with tf.device(device.handle):  # so that pixels are transferred as uint8
                vectors = compiled(images)
            return lambda: np.asarray(vectors.numpy())

        return compute if device.calls == 1 else _side_by_side(compute, device.calls)

    def is_out_of_memory(self, error: Exception) -> bool:
        import tensorflow as tf

        return isinstance(error, tf.errors.ResourceExhaustedError)


def _calls_at_once() -> int:
    """One call per core if each call has one thread; else one call, which uses all threads."""
    return usable_cores() if os.environ.get("TF_NUM_INTRAOP_THREADS") == "1" else 1


def _side_by_side(compute: Compute, calls: int) -> Compute:
    threads = ThreadPoolExecutor(calls, thread_name_prefix="compute")

    def begin(images: NDArray[np.uint8]) -> Fetch:
        return threads.submit(lambda: compute(images)()).result

    return begin
