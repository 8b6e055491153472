"""The arithmetic of a network: how many operations an image takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def operations_per_image(model: keras.Model) -> int:
    """The floating-point operations that a network needs for one image, two per multiplication.

    Counts what multiplies values by weights: convolutions and dense layers, at each place of their
    output (of their input, for transposed convolutions). The products of attention, normalisation,
    activations and pooling are left out; in VGG16 these are below one per cent.

    Args:
        model: a network with a fixed input size, whose channels come last.
    """
    return sum(_operations_of(layer) for layer in _leaves(model))


def _leaves(model: keras.Model) -> list[Any]:
    """All layers that contain no others; each once for every place where it is called."""
    return [each for each in model._flatten_layers(include_self=False) if not each._layers]


def _operations_of(layer: Any) -> int:  # Keras types its layers loosely
    kernels = [weight for weight in layer.weights if len(weight.shape) > 1]
    if not kernels or type(layer).__name__ in ("Embedding", "BatchNormalization"):
        return 0
    tensor = layer.input if "Transpose" in type(layer).__name__ else layer.output
    if isinstance(tensor, list | tuple):
        tensor = tensor[0]
    places: int = math.prod(size or 1 for size in tensor.shape[1:-1])
    calls: int = max(len(layer._inbound_nodes), 1)
    weights: int = sum(math.prod(weight.shape) for weight in kernels)
    return 2 * calls * places * weights
