"""The interface of an engine."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import jax

# A device in the engine's terms: TensorFlow uses names, JAX uses objects, ncnn needs none.
Handle: TypeAlias = "str | jax.Device | None"
# Waits until a device has finished, and returns the vectors: float32 (n, dim).
Fetch = Callable[[], NDArray[np.float32]]
# Starts a device on images, uint8 (n, height, width, channels).
Compute = Callable[[NDArray[np.uint8]], Fetch]


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU, or the CPU.

    Attributes:
        is_gpu: whether it is a GPU.
        name: shown to users, such as "NVIDIA H100 80GB HBM3".
        handle: the engine's own name or object for the device.
        calls: how many calls the device computes at once, in a thread each.
    """

    is_gpu: bool
    name: str
    handle: Handle = dataclasses.field(repr=False, default=None)
    calls: int = 1


class Engine(abc.ABC):
    """Computes the vectors of one encoder.

    Attributes:
        name: as --engine has it.
        software: what it runs on, with the version, such as "TensorFlow 2.21.0"; shown to users.
        devices: every GPU, each with its own copy of the weights; or the CPU.
        copies: for each device, the function that computes on it.
        fixed_shapes: whether every new number of images in a call is compiled again.
        depends_on_batch: whether the last bits of a vector depend on how many images are computed
            together.
    """

    name: str
    software: str
    devices: list[Device]
    copies: list[Compute]
    fixed_shapes: bool
    depends_on_batch: bool

    @abc.abstractmethod
    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether the error means that the device has too little memory."""

    @abc.abstractmethod
    def gpu_advice(self) -> str:
        """Why it computes on the CPU of a machine with a GPU, and what to do; for users."""
