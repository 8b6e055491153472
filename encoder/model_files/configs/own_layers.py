"""Layers that compute what layers of Keras 2 computed and no layer of Keras 3 computes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import keras

from encoder.errors import InputError

Shape: TypeAlias = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="encoder")
class HardSigmoid(keras.layers.Layer):  # type: ignore[misc]
    """Keras 2's ``hard_sigmoid``, as the activation of a layer; Keras 3's rises by 1/6, not 1/5."""

    def __init__(self, **options: object) -> None:
        super().__init__(autocast=False, **options)  # it computes in the dtype of its layer

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.clip(0.2 * inputs + 0.5, 0.0, 1.0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@keras.saving.register_keras_serializable(package="encoder")
class ThresholdedReLU(keras.layers.Layer):  # type: ignore[misc]
    """The input where it is above a threshold, else 0.

    Args:
        theta: the threshold.
    """

    def __init__(self, theta: float = 1.0, **options: object) -> None:
        super().__init__(**options)
        self.theta = float(theta)

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return inputs * keras.ops.cast(inputs > self.theta, inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "theta": self.theta}


class _LocallyConnected(keras.layers.Layer):  # type: ignore[misc]
    """A convolution without padding that has weights of its own at every place.

    Args:
        filters: channels of the output.
        kernel_size, strides: one number for each axis of space.
        activation: see keras.activations.
        use_bias: whether a number is added to each value.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: list[int],
        strides: list[int],
        activation: object = None,
        use_bias: bool = True,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.filters = filters
        self.kernel_size = list(kernel_size)
        self.strides = list(strides)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias

    def build(self, input_shape: Shape) -> None:
        sizes = [size for size in input_shape[1:] if size is not None]
        if len(sizes) < len(input_shape) - 1:
            raise InputError(
                f"layer {self.name!r} has weights for each place of an image, and the network "
                f"leaves the size of its images open ({input_shape}); save it with a fixed size"
            )
        places = self._places(sizes[:-1])
        window = math.prod(self.kernel_size) * sizes[-1]
        self.kernel = self.add_weight((math.prod(places), window, self.filters), name="kernel")
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight((*places, self.filters), name="bias")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        places = self._places(inputs.shape[1:-1])
        shifted = []
        for first in itertools.product(*map(range, self.kernel_size)):
            axes = zip(first, places, self.strides, strict=True)
            cut = [slice(start, start + step * (n - 1) + 1, step) for start, n, step in axes]
            shifted.append(inputs[(slice(None), *cut)])
        windows = keras.ops.reshape(
            keras.ops.concatenate(shifted, axis=-1), (-1, *self.kernel.shape[:2])
        )
        sums = keras.ops.einsum("npw,pwf->npf", windows, self.kernel)
        values = keras.ops.reshape(sums, (-1, *places, self.filters))
        return self.activation(values if self.bias is None else values + self.bias)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = [size or 0 for size in input_shape[1:-1]]
        return (input_shape[0], *self._places(sizes), self.filters)

    def _places(self, sizes: Sequence[int]) -> list[int]:
        axes = zip(sizes, self.kernel_size, self.strides, strict=True)
        return [(size - window) // step + 1 for size, window, step in axes]

    def get_config(self) -> dict[str, object]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable(package="encoder")
class LocallyConnected1D(_LocallyConnected):
    """A locally connected layer for (n, steps, channels)."""


@keras.saving.register_keras_serializable(package="encoder")
class LocallyConnected2D(_LocallyConnected):
    """A locally connected layer for (n, height, width, channels)."""
