"""What converters read of a Keras layer, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.ncnn.net import Blob, Net

if TYPE_CHECKING:
    from encoder.network.graph import Step

# Takes the network, the step, its inputs, and whether nothing else reads these; returns the output.
Converter: TypeAlias = "Callable[[Net, Step, list[Blob], bool], Blob]"


class NotConvertibleError(Exception):
    """A network has no compiled form; the message says why."""


def ncnn_axis(blob: Blob, axis: int) -> int:
    """ncnn's number of an axis of Keras, which counts the batch, or from the end."""
    rank = len(blob.shape)
    place = axis - 1 if axis > 0 else axis + rank
    if not 0 <= place < rank or axis == 0:
        raise NotConvertibleError(f"works along axis {axis}")
    return (1, 2, 0)[place] if rank == 3 else place


def values_of(weight: Any) -> NDArray[np.float64]:
    """A weight's values."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(weight), np.float64)


def bias_of(layer: Any) -> NDArray[np.float64] | None:
    """A layer's bias, if it has one."""
    return values_of(layer.bias) if layer.use_bias else None


def pair(value: Any) -> tuple[int, int]:
    """A setting for height and width, which may be one number for both."""
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def check_channels_last(layer: Any) -> None:
    """Refuse a layer that takes its channels first."""
    if layer.data_format != "channels_last":
        raise NotConvertibleError(f"has data_format {layer.data_format!r}")


def check_last_axis(axis: Any, blob: Blob) -> None:
    """Refuse a layer that works along other axes than the last."""
    axes, last = np.ravel(axis).tolist(), len(blob.shape)
    if axes not in ([-1], [last]):
        raise NotConvertibleError(f"works along axis {axis}")
