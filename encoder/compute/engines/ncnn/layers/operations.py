"""Operations of Keras (``x / 255``, ``x[..., ::-1]``, ``keras.ops.relu``) in ncnn's form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.ncnn.layers.activations import activate
from encoder.compute.engines.ncnn.layers.merging import (
    ADD,
    DIVIDE,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    SUBTRACT,
    merged,
)
from encoder.compute.engines.ncnn.layers.reading import Converter, NotConvertibleError
from encoder.compute.engines.ncnn.layers.scales import scaled
from encoder.compute.engines.ncnn.net import Blob, Net

if TYPE_CHECKING:
    from encoder.network.graph import Step

_ACTIVATIONS = {
    "Elu": "elu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "Mish": "mish",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Tanh": "tanh",
}


def _arithmetic(number: int) -> Converter:
    """A converter of an operation on two tensors, or on one and a constant."""

    def converter(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
        if len(inputs) == 2:
            return merged(number)(net, step, inputs, alone)
        values, is_first = _constant(step)
        return _with_constant(net, inputs[0], number, values, is_first, alone)

    return converter


def _with_constant(
    net: Net, blob: Blob, number: int, values: NDArray[np.float64], is_first: bool, alone: bool
) -> Blob:
    channels = blob.shape[-1]
    if values.size != 1 and (values.size != channels or values.shape[-1] != channels):
        raise NotConvertibleError(f"has a constant of shape {values.shape}")
    one, zero = np.ones(1), np.zeros(1)
    if number == ADD:
        return scaled(net, blob, one, values, alone)
    if number == MULTIPLY:
        return scaled(net, blob, values, zero, alone)
    if number == SUBTRACT:
        return scaled(net, blob, *((-one, values) if is_first else (one, -values)), inside=alone)
    if number == DIVIDE and not is_first:
        return scaled(net, blob, 1 / values, zero, alone)
    if values.size == 1 and number in (MAXIMUM, MINIMUM):
        parameters = {0: number, 1: 1, 2: float(values.ravel()[0])}
        return net.add("BinaryOp", [blob], blob.shape, parameters)
    raise NotConvertibleError("divides a constant, or compares with several")


def _constant(step: Step) -> tuple[NDArray[np.float64], bool]:
    """The constant of a step with two arguments, and whether it is the first of them."""
    args, options = step.arguments or ((), {})
    both = [*args, *options.values()]
    if len(both) != 2 or sum(value is None for value in both) != 1:
        raise NotConvertibleError(f"has the arguments {both}")
    value = next(value for value in both if value is not None)
    return np.asarray(value, np.float64), both[1] is None


def _negative(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    return scaled(net, inputs[0], -np.ones(1), np.zeros(1), alone)


def _function(name: str) -> Converter:
    def converter(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
        import keras

        args, options = step.arguments or ((), {})
        if [*args, *options.values()] != [None] or _settings(step):
            raise NotConvertibleError("has settings of its own")
        return activate(net, inputs[0], keras.activations.get(name), alone)

    return converter


def _settings(step: Step) -> dict[str, object]:
    """The settings of an operation that are no defaults of Keras, such as Elu's alpha."""
    defaults = {"alpha": 1.0}
    found = {key: value for key, value in vars(step.layer).items() if key in defaults}
    return {key: value for key, value in found.items() if value != defaults[key]}


def _get_item(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    """Take channels: a convolution whose kernel is ones and zeros takes them exactly."""
    args, options = step.arguments or ((), {})
    key = [*args, *options.values()][1]
    parts = list(key) if isinstance(key, list | tuple) else [key]
    everything = (slice(None), Ellipsis)
    (blob,) = inputs
    is_last = len(parts) == len(blob.shape) + 1 or any(part is Ellipsis for part in parts)
    last = parts[-1]
    if not (
        len(blob.shape) == 3
        and is_last
        and isinstance(last, slice)
        and all(any(part == each for each in everything) for part in parts[:-1])
    ):
        raise NotConvertibleError(f"takes {key}")
    channels = int(blob.shape[-1] or 0)
    kernel = np.eye(channels)[last]
    return net.add(
        "Convolution",
        [blob],
        (*blob.shape[:-1], len(kernel)),
        {0: len(kernel), 1: 1, 11: 1, 5: 0, 6: kernel.size},
        tagged=kernel,
    )


def _cast(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    if str(step.output.dtype) != "float32":
        raise NotConvertibleError(f"casts to {step.output.dtype}")
    return inputs[0]


OPERATIONS: dict[str, Converter] = {
    "Add": _arithmetic(ADD),
    "Cast": _cast,
    "Divide": _arithmetic(DIVIDE),
    "GetItem": _get_item,
    "Maximum": _arithmetic(MAXIMUM),
    "Minimum": _arithmetic(MINIMUM),
    "Multiply": _arithmetic(MULTIPLY),
    "Negative": _negative,
    "Subtract": _arithmetic(SUBTRACT),
    "TrueDivide": _arithmetic(DIVIDE),
    **{kind: _function(name) for kind, name in _ACTIVATIONS.items()},
}
