"""Layers that pool, pad, crop, resize and reshape, in ncnn's form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from encoder.compute.engines.ncnn.layers.reading import (
    Converter,
    NotConvertibleError,
    check_channels_last,
    pair,
)
from encoder.compute.engines.ncnn.net import Blob, Net, Parameters

if TYPE_CHECKING:
    from encoder.network.graph import Step

_AS_GIVEN, _WITHOUT_PADDING = 1, 0  # ncnn's padding of a pool, and what its averages count
TO_LAST, TO_FIRST = 3, 4  # ncnn's numbers of the orders: channels last, and back


def _pool(kind: int) -> Converter:
    def converter(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
        layer: Any = step.layer
        check_channels_last(layer)
        size, strides = pair(layer.pool_size), pair(layer.strides)
        window: Parameters = {0: kind, 1: size[1], 11: size[0], 2: strides[1], 12: strides[0]}
        parameters = window | {5: _AS_GIVEN, 6: _WITHOUT_PADDING}
        if layer.padding == "same":
            sides = zip(inputs[0].shape[:2], size, strides, strict=True)
            (top, bottom), (left, right) = (_same_padding(*each) for each in sides)
            parameters |= {3: left, 14: right, 13: top, 15: bottom}
        return net.add("Pooling", inputs, step.shape[1:], parameters)

    return converter


def _same_padding(side: int | None, window: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's "same" adds before and after; of an odd number, more after."""
    left_over = (side or 0) % stride or stride
    missing = max(window - left_over, 0)
    return missing // 2, missing - missing // 2


def _global_pool(kind: int) -> Converter:
    def converter(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
        layer: Any = step.layer
        check_channels_last(layer)
        blob = net.add("Pooling", inputs, inputs[0].shape[-1:], {0: kind, 4: 1})
        return reshaped(net, blob, tuple(step.shape[1:]))

    return converter


def _flatten(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    return reshaped(net, inputs[0], tuple(step.shape[1:]))


def reshaped(net: Net, blob: Blob, shape: tuple[int | None, ...]) -> Blob:
    """The same values in Keras' order, which has the channels last, in another shape."""
    sizes = [int(side or 0) for side in shape]
    if tuple(blob.shape) == tuple(sizes):
        return blob
    if len(sizes) > 3:
        raise NotConvertibleError(f"gives {tuple(shape)}")
    if len(blob.shape) == 3 and math.prod(int(side or 0) for side in blob.shape[:2]) > 1:
        blob = permuted(net, blob, TO_LAST)
    if len(sizes) < 3 or sizes[0] * sizes[1] == 1:
        return net.add("Reshape", [blob], sizes, _sides(sizes))
    last = net.add("Reshape", [blob], sizes, {0: sizes[2], 1: sizes[1], 2: sizes[0]})
    return permuted(net, last, TO_FIRST)


def _sides(sizes: list[int]) -> Parameters:
    """Reshape's parameters: width, height and channels, as far as there are so many axes."""
    if len(sizes) == 1:
        return {0: sizes[0]}
    if len(sizes) == 2:
        return {0: sizes[1], 1: sizes[0]}
    return {0: sizes[1], 1: sizes[0], 2: sizes[2]}


def permuted(net: Net, blob: Blob, order: int) -> Blob:
    """The values of three axes in another order: TO_LAST, and TO_FIRST to undo it."""
    return net.add("Permute", [blob], blob.shape, {0: order})


def _zero_padding(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    check_channels_last(layer)
    (top, bottom), (left, right) = layer.padding
    parameters: Parameters = {0: top, 1: bottom, 2: left, 3: right, 4: 0, 5: 0.0}
    return net.add("Padding", inputs, step.shape[1:], parameters)


def _cropping(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    check_channels_last(layer)
    (top, _), (left, _) = layer.cropping
    height, width, channels = (int(side or 0) for side in step.shape[1:])
    parameters: Parameters = {0: left, 1: top, 2: 0, 3: width, 4: height, 5: channels}
    return net.add("Crop", inputs, step.shape[1:], parameters)


def _up_sampling(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    check_channels_last(layer)
    kinds = {"nearest": 1, "bilinear": 2}
    if layer.interpolation not in kinds:
        raise NotConvertibleError(f"has the interpolation {layer.interpolation!r}")
    height, width = int(step.shape[1] or 0), int(step.shape[2] or 0)
    parameters: Parameters = {0: kinds[layer.interpolation], 3: height, 4: width}
    return net.add("Interp", inputs, step.shape[1:], parameters)


SIZES: dict[str, Converter] = {
    "AveragePooling2D": _pool(1),
    "Cropping2D": _cropping,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_pool(1),
    "GlobalMaxPooling2D": _global_pool(0),
    "MaxPooling2D": _pool(0),
    "Reshape": _flatten,
    "UpSampling2D": _up_sampling,
    "ZeroPadding2D": _zero_padding,
}
