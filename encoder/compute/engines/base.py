"""The interface of an engine, which TensorFlow and JAX implement."""

from __future__ import annotations

import abc
import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import jax
    import keras
    import tensorflow as tf

    from encoder.spec import Precision

Tensor: TypeAlias = "tf.Tensor | jax.Array"
# A device in the backend's terms: TensorFlow uses names, JAX uses objects.
Handle: TypeAlias = "str | jax.Device"
# Waits until a device has finished, and returns the vectors: float32 (n, dim).
Fetch = Callable[[], NDArray[np.float32]]
# Starts a device on images, uint8 (n, height, width, channels).
Compute = Callable[[NDArray[np.uint8]], Fetch]
# Takes a model and uint8 images, returns float32 (n, dim); made of Keras operations.
Forward: TypeAlias = "Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]"


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU, or the CPU.

    Attributes:
        is_gpu: whether it is a GPU.
        name: shown to users, such as "NVIDIA H100 80GB HBM3".
        handle: the backend's own name or object for the device.
        calls: how many calls the device computes at once, in a thread each.
    """

    is_gpu: bool
    name: str
    handle: Handle = dataclasses.field(repr=False)
    calls: int = 1


class Backend(abc.ABC):
    """One of Keras's backends.

    Attributes:
        name: shown to users.
        package: name of the Python package.
        fixed_shapes: whether every new number of images makes it compile the model again.
    """

    name: str
    package: str
    fixed_shapes: bool

    @property
    def version(self) -> str:
        """The version of the backend's package."""
        return str(importlib.import_module(self.package).__version__)

    @abc.abstractmethod
    def devices(self) -> list[Device]:
        """All GPUs that the backend can use; the CPU if there are none.

        GPU memory is allocated as it is needed, not all at once.
        """

    @abc.abstractmethod
    def compile(
        self,
        model: keras.Model,
        forward: Forward,
        shape: tuple[int, ...],
        precision: Precision,
        device: Device,
    ) -> Compute:
        """Compile for one device, which gets its own copy of the weights.

        Args:
            model: takes preprocessed float32 images, returns (n, dim).
            forward: the whole computation; calls the model that it gets.
            shape: (height, width, channels) of an image.
            precision: the spec's precision. "tf32" allows GPUs to multiply float32 as TF32; the
                others forbid it.
            device: one of devices().
        """

    @abc.abstractmethod
    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether the error means that the device has too little memory."""
