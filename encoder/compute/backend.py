"""What differs between Keras's backends, TensorFlow and JAX. Everything else is written once."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.compute.machine import cpu_name, usable_cores
from encoder.errors import InputError

# Waits for what a device computes, and gives it: float32 (n, dim).
Fetch = Callable[[], NDArray[np.float32]]
# Lets a device begin with uint8 (n, height, width, channels).
Compute = Callable[[NDArray[np.uint8]], Fetch]
# A model and uint8 images to float32 (n, dim), in operations of Keras.
Forward = Callable[[Callable[[Any], Any], Any], Any]


@dataclasses.dataclass(frozen=True)
class Device:
    """What computes.

    Attributes:
        is_gpu: whether it is one.
        name: as people know it, such as "NVIDIA H100 80GB HBM3".
        handle: by which the backend knows it.
        calls: how many it computes at once, in a thread each.
    """

    is_gpu: bool
    name: str
    handle: Any = dataclasses.field(repr=False)
    calls: int = 1


class Backend(abc.ABC):
    """One of Keras's backends.

    Attributes:
        name, package: for people, and for Python.
        fixed_shapes: whether every new number of images is compiled anew.
    """

    name: str
    package: str
    fixed_shapes: bool

    @property
    def version(self) -> str:
        """Of the backend."""
        return str(importlib.import_module(self.package).__version__)

    @abc.abstractmethod
    def devices(self) -> list[Device]:
        """The GPUs, all of them and none but them; where there is none, the CPU.

        A GPU's memory is taken as it is needed, not all at once. A GPU that is there and can't be
        used is left out.
        """

    @abc.abstractmethod
    def compile(
        self, model: Any, forward: Forward, shape: tuple[int, ...], precision: str, device: Device
    ) -> Compute:
        """Compile for one device, with weights of its own there.

        Args:
            model: keras.Model, preprocessed float32 images to (n, dim).
            forward: what to compute with it.
            shape: of an image.
            precision: of the spec. "tf32" lets float32 be multiplied as TF32 where a GPU can;
                otherwise it never is.
            device: one of devices().
        """

    @abc.abstractmethod
    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an error says that the device has not enough memory."""


class _TensorFlow(Backend):
    name, package, fixed_shapes = "TensorFlow", "tensorflow", False

    def devices(self) -> list[Device]:
        import tensorflow as tf

        gpus = tf.config.get_visible_devices("GPU")
        try:
            for gpu in gpus:
                with contextlib.suppress(RuntimeError):  # it is in use already
                    tf.config.experimental.set_memory_growth(gpu, True)
            details = tf.config.experimental.get_device_details
            names = [details(gpu).get("device_name", "GPU") for gpu in gpus]
            logical = tf.config.list_logical_devices("GPU")
        except (RuntimeError, tf.errors.OpError):  # a driver that can't be talked to
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
        self, model: Any, forward: Forward, shape: tuple[int, ...], precision: str, device: Device
    ) -> Compute:
        import tensorflow as tf

        allow_tf32 = tf.config.experimental.enable_tensor_float_32_execution
        with tf.device(device.handle):
            if device != self.devices()[0]:  # the first one has the weights
                copy = keras.models.clone_model(model)
                copy.set_weights(model.get_weights())
                model = copy
            # XLA is slower than oneDNN on a CPU, and free batch sizes would recompile it on a GPU.
            # Keras keeps autograph out of its layers anyway, and it takes half a second.
            compiled = tf.function(
                lambda images: forward(lambda pixels: model(pixels, training=False), images),
                input_signature=[tf.TensorSpec((None, *shape), tf.uint8)],
                jit_compile=False,
                autograph=False,
            )
            compiled.get_concrete_function()

        def compute(images: NDArray[np.uint8]) -> Fetch:
            allow_tf32(precision == "tf32")
            with tf.device(device.handle):  # so the pixels get there as uint8
                vectors = compiled(images)
            return lambda: np.asarray(vectors.numpy())

        return compute if device.calls == 1 else _side_by_side(compute, device.calls)

    def is_out_of_memory(self, error: Exception) -> bool:
        import tensorflow as tf

        return isinstance(error, tf.errors.ResourceExhaustedError)


def _calls_at_once() -> int:
    """One for each core, where a call has one thread; TensorFlow's calls share their threads."""
    return usable_cores() if os.environ.get("TF_NUM_INTRAOP_THREADS") == "1" else 1


def _side_by_side(compute: Compute, calls: int) -> Compute:
    threads = ThreadPoolExecutor(calls, thread_name_prefix="compute")

    def begin(images: NDArray[np.uint8]) -> Fetch:
        return threads.submit(lambda: compute(images)()).result

    return begin


class _Jax(Backend):
    name, package, fixed_shapes = "JAX", "jax", True

    def devices(self) -> list[Device]:
        import jax

        try:
            found = jax.devices()
        except RuntimeError:  # a driver that can't be talked to
            found = jax.devices("cpu")
        return [
            Device(True, each.device_kind, each)
            if each.platform == "gpu"
            else Device(False, cpu_name(), each)
            for each in found
        ]

    def compile(
        self, model: Any, forward: Forward, shape: tuple[int, ...], precision: str, device: Device
    ) -> Compute:
        import jax

        weights = jax.device_put(
            [
                [variable.value for variable in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables)
            ],
            device.handle,
        )

        def compute_all(weights: Any, images: Any) -> Any:
            def stateless(pixels: Any) -> Any:
                return model.stateless_call(*weights, pixels, training=False)[0]

            with jax.default_matmul_precision(_JAX_PRECISIONS.get(precision, "default")):
                return forward(stateless, images)

        compiled = jax.jit(compute_all)

        def compute(images: NDArray[np.uint8]) -> Fetch:
            vectors = compiled(weights, jax.device_put(images, device.handle))
            return lambda: np.asarray(vectors)

        return compute

    def is_out_of_memory(self, error: Exception) -> bool:
        return "RESOURCE_EXHAUSTED" in str(error)


_JAX_PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}  # others say it by their dtype
_BACKENDS: dict[str, type[Backend]] = {"tensorflow": _TensorFlow, "jax": _Jax}


@functools.cache
def backend() -> Backend:
    """The one that Keras uses.

    Raises:
        InputError: it is neither TensorFlow nor JAX.
    """
    name = keras.backend.backend()
    if name not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND is {name!r}; expected one of {', '.join(_BACKENDS)}")
    return _BACKENDS[name]()
