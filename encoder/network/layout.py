"""Find feature maps that have their channels first; cutting and pooling take them last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from encoder.errors import InputError
from encoder.network.graph import CHANNELS_FIRST, CHANNELS_LAST_ADVICE, Graph, Step

if TYPE_CHECKING:
    import keras

# Layers and operations that move the channels; they are taken to be last behind them.
_MOVING = ("Permute", "Transpose", "Moveaxis", "Swapaxes")


def check_maps(graph: Graph, steps: Iterable[Step]) -> None:
    """Refuse feature maps with their channels first: they would be pooled over the wrong axes.

    Raises:
        InputError: a step has them; the message names its layer.
    """
    first = channels_first(graph)
    for step in steps:
        if id(step.output) in first:
            raise InputError(
                f"layer {step.name!r} gives feature maps with their channels first, "
                f"{step.shape[1:]}; expected (height, width, channels). Name a layer behind one "
                f"that moves the channels to the end, such as Permute((2, 3, 1)), if there is one. "
                f"Otherwise: {CHANNELS_LAST_ADVICE}"
            )


def channels_first(graph: Graph) -> set[int]:
    """The ids (Python's) of the tensors that have their channels first."""
    found: set[int] = set()
    for step in graph.steps:
        data_format = getattr(step.layer, "data_format", None)
        if step.is_model or len(step.shape) < 3 or _moves_channels(step.layer):
            continue
        if data_format is None:
            is_first = any(id(tensor) in found for tensor in step.inputs)
        else:
            is_first = data_format == CHANNELS_FIRST
        if is_first:
            found.update(id(tensor) for tensor in step.outputs)
    return found


def _moves_channels(layer: keras.Operation) -> bool:
    function = str(getattr(layer, "function", ""))  # of an operation of Keras 2
    return type(layer).__name__ in _MOVING or function.endswith("transpose")
