"""Layers with kernels in ncnn's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.ncnn.layers.activations import activate
from encoder.compute.engines.ncnn.layers.reading import (
    Converter,
    NotConvertibleError,
    bias_of,
    check_channels_last,
    pair,
    values_of,
)
from encoder.compute.engines.ncnn.net import Blob, Net, Parameters

if TYPE_CHECKING:
    from encoder.network.graph import Step

_SAME = -233  # ncnn's number for padding as TensorFlow's "same"


def _convolution(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    kernel = values_of(layer.kernel).transpose(3, 2, 0, 1)  # to out, in, height, width
    blob = _convolve(net, inputs[0], step.shape, kernel, bias_of(layer), layer, layer.groups)
    return activate(net, blob, layer.activation)


def _depthwise(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    blob = _each_channel(net, inputs[0], step.shape, values_of(layer.kernel), bias_of(layer), layer)
    return activate(net, blob, layer.activation)


def _separable(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    depthwise = values_of(layer.depthwise_kernel)
    shape = (*step.shape[:-1], depthwise.shape[2] * depthwise.shape[3])
    blob = _each_channel(net, inputs[0], shape, depthwise, None, layer)
    kernel = values_of(layer.pointwise_kernel)[0, 0].T
    return activate(net, _point_by_point(net, blob, kernel, bias_of(layer)), layer.activation)


def _each_channel(
    net: Net,
    blob: Blob,
    shape: tuple[int | None, ...],
    kernel: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
    layer: Any,
) -> Blob:
    """A convolution of each channel by itself; the kernel is (height, width, in, multiplier)."""
    height, width, channels, multiplier = kernel.shape
    flat = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return _convolve(net, blob, shape, flat, bias, layer, channels)


def _convolve(
    net: Net,
    blob: Blob,
    shape: tuple[int | None, ...],
    kernel: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
    layer: Any,
    groups: int,
) -> Blob:
    """A convolution; the kernel is (out, in of a group, height, width)."""
    check_channels_last(layer)
    if layer.padding not in ("same", "valid"):
        raise NotConvertibleError(f"has the padding {layer.padding!r}")
    strides, dilations = pair(layer.strides), pair(layer.dilation_rate)
    parameters = _window(kernel.shape[2:], strides, layer.padding == "same")
    parameters |= {2: dilations[1], 12: dilations[0]}
    return _weighted(
        net, "ConvolutionDepthWise" if groups > 1 else "Convolution",
        blob, shape, kernel, bias, parameters | ({7: groups} if groups > 1 else {}),
    )  # fmt: skip


def _point_by_point(
    net: Net, blob: Blob, kernel: NDArray[np.float64], bias: NDArray[np.float64] | None
) -> Blob:
    """A convolution of single positions; the kernel is (out, in)."""
    shape = (None, *blob.shape[:-1], len(kernel))
    return _weighted(net, "Convolution", blob, shape, kernel, bias, {1: 1, 11: 1})


def _weighted(
    net: Net,
    kind: str,
    blob: Blob,
    shape: tuple[int | None, ...],
    kernel: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
    parameters: Parameters,
) -> Blob:
    """A layer with a kernel, whose first axis is its output's channels, and a bias."""
    place, size = (1, 2) if kind == "InnerProduct" else (5, 6)
    first = {0: len(kernel), place: int(bias is not None), size: kernel.size}
    weights = [] if bias is None else [bias]
    return net.add(kind, [blob], shape[1:], first | parameters, tagged=kernel, weights=weights)


def _transposed(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    check_channels_last(layer)
    kernel = values_of(layer.kernel).transpose(2, 3, 0, 1)  # to out, in, height, width
    strides = pair(layer.strides)
    if pair(layer.dilation_rate) != (1, 1) or layer.output_padding is not None:
        raise NotConvertibleError("is dilated, or has an output_padding")
    if any(size < stride for size, stride in zip(kernel.shape[2:], strides, strict=True)):
        raise NotConvertibleError("has strides above the size of its kernel")
    if getattr(layer, "groups", 1) != 1:
        raise NotConvertibleError("has groups")
    parameters = _window(kernel.shape[2:], strides, layer.padding == "same")
    if layer.padding == "same":
        parameters |= {20: int(step.shape[2] or 0), 21: int(step.shape[1] or 0)}
    blob = _weighted(
        net, "Deconvolution", inputs[0], step.shape, kernel, bias_of(layer), parameters
    )
    return activate(net, blob, layer.activation)


def _window(size: tuple[int, ...], strides: tuple[int, int], is_same: bool) -> Parameters:
    """The parameters of a window of (height, width)."""
    pads: Parameters = {4: _SAME} if is_same else {}
    return {1: size[1], 11: size[0], 3: strides[1], 13: strides[0], **pads}


def _dense(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    kernel = values_of(layer.kernel).T
    if len(inputs[0].shape) == 3:
        blob = _point_by_point(net, inputs[0], kernel, bias_of(layer))
    else:
        blob = _weighted(net, "InnerProduct", inputs[0], step.shape, kernel, bias_of(layer), {})
    return activate(net, blob, layer.activation)


CONVOLUTIONS: dict[str, Converter] = {
    "Conv2D": _convolution,
    "Conv2DTranspose": _transposed,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
}
