"""What an engine computes with: the interface that TensorFlow and JAX are behind."""

from __future__ import annotations

import abc
import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
