"""Activation functions of Keras in ncnn's form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from encoder.compute.engines.ncnn.layers.reading import (
    Converter,
    NotConvertibleError,
    ncnn_axis,
    values_of,
)
from encoder.compute.engines.ncnn.net import (
    ACTIVATION,
    ACTIVATION_VALUES,
    Blob,
    Net,
)

if TYPE_CHECKING:
    from encoder.network.graph import Step


# ncnn's numbers of activations that a convolution computes by itself.
_RELU, _LEAKY, _CLIP, _SIGMOID, _MISH, _HARD_SWISH = range(1, 7)
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "InnerProduct", "Deconvolution")
_THIRD_FROM_HALF = {0: 1 / 6, 1: 0.5}

# Keras' function: ncnn's layer and its parameters; None leaves the values as they are.
_FUNCTIONS: dict[str, tuple[str, Mapping[int, float]] | None] = {
    "elu": ("ELU", {0: 1.0}),
    "exponential": ("Exp", {}),
    "gelu": ("GELU", {0: 0}),
    "hard_sigmoid": ("HardSigmoid", _THIRD_FROM_HALF),
    "hard_silu": ("HardSwish", _THIRD_FROM_HALF),
    "hard_tanh": ("Clip", {0: -1.0, 1: 1.0}),
    "leaky_relu": ("ReLU", {0: 0.2}),
    "linear": None,
    "mish": ("Mish", {}),
    "relu": ("ReLU", {0: 0.0}),
    "relu6": ("Clip", {0: 0.0, 1: 6.0}),
    "selu": ("SELU", {}),
    "sigmoid": ("Sigmoid", {}),
    "silu": ("Swish", {}),
    "softplus": ("Softplus", {}),
    "tanh": ("TanH", {}),
}


def activate(net: Net, blob: Blob, function: Callable[..., object], inside: bool = True) -> Blob:
    """Apply an activation function of Keras.

    Args:
        net: the network, which grows.
        blob: what it is applied to.
        function: such as keras.activations.relu.
        inside: whether the layer that makes the blob may take it in.

    Raises:
        NotConvertibleError: ncnn lacks it.
    """
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", "") or ""
    if name == "softmax" and module.startswith("keras.src."):
        return softmax(net, blob, -1)
    if name not in _FUNCTIONS or not module.startswith("keras.src."):
        raise NotConvertibleError(f"has the activation {name or function!r}, which ncnn lacks")
    found = _FUNCTIONS[name]
    if found is None:
        return blob
    if name == "gelu" and inspect.signature(function).parameters["approximate"].default:
        found = ("GELU", {0: 1})
    return add_activation(net, blob, *found, inside=inside)


def add_activation(
    net: Net, blob: Blob, kind: str, parameters: Mapping[int, float], inside: bool = True
) -> Blob:
    """Add a layer that computes value by value, or let the convolution before compute it.

    Args:
        net, blob, inside: see activate.
        kind: ncnn's name of the layer's type.
        parameters: its parameters.
    """
    if inside and (own := _of_convolution(kind, parameters)):
        layer = net.maker(blob)
        if layer.kind in _CONVOLUTIONS and ACTIVATION not in layer.parameters:
            number, values = own
            layer.parameters[ACTIVATION] = number
            if values:
                layer.parameters[ACTIVATION_VALUES] = values
            return blob
    return net.add(kind, [blob], blob.shape, parameters)


def softmax(net: Net, blob: Blob, axis: int) -> Blob:
    """Keras' softmax along an axis, counted with the batch or from the end."""
    return net.add("Softmax", [blob], blob.shape, {0: ncnn_axis(blob, axis), 1: 1})


def _of_convolution(kind: str, parameters: Mapping[int, float]) -> tuple[int, list[float]] | None:
    values = [float(np.asarray(value)) for value in parameters.values()]
    if kind == "ReLU":
        return (_LEAKY, values) if values[0] else (_RELU, [])
    numbers = {"Clip": _CLIP, "Sigmoid": _SIGMOID, "Mish": _MISH, "HardSwish": _HARD_SWISH}
    return (numbers[kind], values) if kind in numbers else None


def _activation(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    return activate(net, inputs[0], layer.activation, alone)


def _relu(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    most, slope = layer.max_value, float(np.asarray(layer.negative_slope))
    if np.asarray(layer.threshold) or (most is not None and slope):
        raise NotConvertibleError("has a threshold, or a slope and a largest value")
    if most is None:
        return add_activation(net, inputs[0], "ReLU", {0: slope}, alone)
    return add_activation(net, inputs[0], "Clip", {0: 0.0, 1: float(most)}, alone)


def _leaky_relu(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    return add_activation(net, inputs[0], "ReLU", {0: float(layer.negative_slope)}, alone)


def _elu(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    return add_activation(net, inputs[0], "ELU", {0: float(layer.alpha)}, alone)


def _prelu(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    slopes = values_of(layer.alpha)
    if slopes.size != slopes.shape[-1] or len(inputs[0].shape) == 2:
        raise NotConvertibleError(f"has slopes of shape {slopes.shape}, not one per channel")
    weights = [slopes.ravel()]
    return net.add("PReLU", inputs, inputs[0].shape, {0: slopes.size}, weights=weights)


def _softmax(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    (axis,) = np.ravel(layer.axis).tolist() if np.size(layer.axis) == 1 else (0,)
    return softmax(net, inputs[0], axis)


ACTIVATIONS: dict[str, Converter] = {
    "Activation": _activation,
    "ELU": _elu,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Softmax": _softmax,
}
