"""Layers that scale and normalize, in ncnn's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.ncnn.layers.reading import (
    Converter,
    NotConvertibleError,
    check_last_axis,
    values_of,
)
from encoder.compute.engines.ncnn.layers.sizes import TO_FIRST, TO_LAST, permuted
from encoder.compute.engines.ncnn.net import ACTIVATION, Blob, Layer, Net, Parameters

if TYPE_CHECKING:
    from encoder.network.graph import Step

_FOLDING = ("Convolution", "ConvolutionDepthWise", "InnerProduct")


def scaled(
    net: Net, blob: Blob, scale: NDArray[np.float64], bias: NDArray[np.float64], inside: bool
) -> Blob:
    """Multiply channels and add to them.

    Args:
        net: the network, which grows.
        blob: three axes, or one.
        scale, bias: a number per channel.
        inside: whether the convolution before may take them in.
    """
    layer = net.maker(blob)
    channels = int(blob.shape[-1] or 0)
    scale, bias = (np.broadcast_to(np.ravel(each), channels) for each in (scale, bias))
    if inside and layer.kind in _FOLDING and ACTIVATION not in layer.parameters:
        _fold(layer, scale, bias)
        return blob
    if len(blob.shape) == 2:
        raise NotConvertibleError("scales the channels of a sequence")
    weights = [scale, bias]
    return net.add("Scale", [blob], blob.shape, {0: channels, 1: 1}, weights=weights)


def _fold(layer: Layer, scale: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    """Let a layer with a kernel scale its output, too."""
    kernel = np.asarray(layer.tagged, np.float64)
    before = np.asarray(layer.weights[0], np.float64) if layer.weights else 0.0
    shape = (len(kernel), *[1] * (kernel.ndim - 1))
    layer.tagged = np.asarray(kernel * scale.reshape(shape), np.float32)
    layer.weights = [np.asarray(before * scale + bias, np.float32)]
    layer.parameters[1 if layer.kind == "InnerProduct" else 5] = 1


def _batch_normalization(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    check_last_axis(layer.axis, inputs[0])
    scale = 1 / np.sqrt(values_of(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * values_of(layer.gamma)
    bias = -values_of(layer.moving_mean) * scale
    if layer.center:
        bias = bias + values_of(layer.beta)
    return scaled(net, inputs[0], scale, bias, alone)


def _normalization(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    axes = [axis % (len(inputs[0].shape) + 1) for axis in np.ravel(layer.axis)]
    if layer.invert or any(axis != len(inputs[0].shape) for axis in axes):
        raise NotConvertibleError(f"works along axis {layer.axis}, or is inverted")
    mean, variance = values_of(layer.mean), values_of(layer.variance)
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return scaled(net, inputs[0], scale, -mean * scale, False)


def _rescaling(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    scale, offset = (np.asarray(each, np.float64) for each in (layer.scale, layer.offset))
    if max(scale.size, offset.size) > 1 and inputs[0].shape[-1] not in (scale.size, offset.size):
        raise NotConvertibleError(
            f"has scales of shape {scale.shape} and offsets of {offset.shape}"
        )
    return scaled(net, inputs[0], scale, offset, alone)


def _layer_scale(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    return scaled(net, inputs[0], values_of(layer.gamma), np.zeros(1), alone)


def _layer_normalization(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    blob = inputs[0]
    check_last_axis(layer.axis, blob)
    if getattr(layer, "rms_scaling", False):
        raise NotConvertibleError("has rms_scaling")
    channels = int(blob.shape[-1] or 0)
    gamma = values_of(layer.gamma) if layer.scale else np.ones(channels)
    beta = values_of(layer.beta) if layer.center else np.zeros(channels)
    parameters: Parameters = {0: channels, 1: float(layer.epsilon), 2: 1}
    if len(blob.shape) == 3:
        blob = permuted(net, blob, TO_LAST)
    blob = net.add("LayerNorm", [blob], blob.shape, parameters, weights=[gamma, beta])
    return permuted(net, blob, TO_FIRST) if len(blob.shape) == 3 else blob


def _group_normalization(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    blob = inputs[0]
    check_last_axis(layer.axis, blob)
    if len(blob.shape) != 3:
        raise NotConvertibleError("normalizes no images")
    channels = int(blob.shape[-1] or 0)
    gamma = values_of(layer.gamma) if layer.scale else np.ones(channels)
    beta = values_of(layer.beta) if layer.center else np.zeros(channels)
    groups = channels if layer.groups == -1 else layer.groups
    parameters: Parameters = {0: groups, 1: channels, 2: float(layer.epsilon), 3: 1}
    return net.add("GroupNorm", [blob], blob.shape, parameters, weights=[gamma, beta])


SCALES: dict[str, Converter] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "LayerNormalization": _layer_normalization,
    "LayerScale": _layer_scale,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
}
