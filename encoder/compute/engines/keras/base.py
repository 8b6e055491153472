"""The interface of Keras's backends, which TensorFlow and JAX implement."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from encoder.compute.engines.base import Compute, Device

if TYPE_CHECKING:
    import jax
    import keras
    import tensorflow as tf

    from encoder.spec import Precision

Tensor: TypeAlias = "tf.Tensor | jax.Array"
# Takes a model and uint8 images, returns float32 (n, dim); made of Keras operations.
Forward: TypeAlias = "Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]"


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
