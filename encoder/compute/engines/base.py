"""What an engine computes with: the interface that TensorFlow and JAX are behind."""

from __future__ import annotations

import abc
import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Waits until a device has finished, and gives the vectors: float32 (n, dim).
Fetch = Callable[[], NDArray[np.float32]]
# Starts a device on images, uint8 (n, height, width, channels).
Compute = Callable[[NDArray[np.uint8]], Fetch]
# Takes a model and uint8 images and gives float32 (n, dim), in operations of Keras.
Forward = Callable[[Callable[[Any], Any], Any], Any]


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU, or the CPU.

    Attributes:
        is_gpu: whether it is a GPU.
        name: for people, such as "NVIDIA H100 80GB HBM3".
        handle: the backend's own name or object for it.
        calls: how many calls it computes at once, in a thread each.
    """

    is_gpu: bool
    name: str
    handle: Any = dataclasses.field(repr=False)
    calls: int = 1


class Backend(abc.ABC):
    """One of Keras's backends.

    Attributes:
        name: for people.
        package: the Python package.
        fixed_shapes: whether the model is compiled again for every new number of images.
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
        """All GPUs that the backend can use; without one, the CPU.

        GPU memory is allocated as it is needed, not all at once.
        """

    @abc.abstractmethod
    def compile(
        self, model: Any, forward: Forward, shape: tuple[int, ...], precision: str, device: Device
    ) -> Compute:
        """Compile for one device, with weights of its own there.

        Args:
            model: keras.Model, preprocessed float32 images to (n, dim).
            forward: the computation, with the model as its argument.
            shape: of an image: (height, width, channels).
            precision: of the spec. "tf32" allows GPUs to multiply float32 as TF32; all others
                forbid it.
            device: one of devices().
        """

    @abc.abstractmethod
    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an error means that the device has too little memory."""
