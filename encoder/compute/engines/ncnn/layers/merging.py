"""Layers with several inputs in ncnn's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encoder.compute.engines.ncnn.layers.reading import Converter, NotConvertibleError, ncnn_axis
from encoder.compute.engines.ncnn.net import Blob, Net

if TYPE_CHECKING:
    from encoder.network.graph import Step

ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM = range(6)


def merged(number: int, divide: bool = False) -> Converter:
    """A converter of what computes value by value with all of its inputs, by ncnn's number."""

    def converter(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
        blob = inputs[0]
        for other in inputs[1:]:
            if len(blob.shape) != len(other.shape):
                raise NotConvertibleError(f"takes {blob.shape} and {other.shape}")
            sides = zip(blob.shape, other.shape, strict=True)
            shape = [max(int(a or 0), int(b or 0)) for a, b in sides]
            blob = net.add("BinaryOp", [blob, other], shape, {0: number})
        if divide:
            share = 1 / len(inputs)
            blob = net.add("BinaryOp", [blob], blob.shape, {0: MULTIPLY, 1: 1, 2: share})
        return blob

    return converter


def _concatenate(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer: Any = step.layer
    axis = ncnn_axis(inputs[0], layer.axis)
    return net.add("Concat", inputs, step.shape[1:], {0: axis})


MERGING: dict[str, Converter] = {
    "Add": merged(ADD),
    "Average": merged(ADD, divide=True),
    "Concatenate": _concatenate,
    "Maximum": merged(MAXIMUM),
    "Minimum": merged(MINIMUM),
    "Multiply": merged(MULTIPLY),
    "Subtract": merged(SUBTRACT),
}
