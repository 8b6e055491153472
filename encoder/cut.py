"""Cut the encoder out of a trained network, and prove that it computes the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.errors import CutMismatchError, InputError
from encoder.graph import trace
from encoder.pooling import pool_numpy, pool_taps
from encoder.taps import Tap, find_taps

# Share of the largest value. Both sides run the same kernels in float32; only the order of the
# sums in the pooling differs.
TOLERANCE = 1e-5


class Cut(NamedTuple):
    """An encoder cut out of a network.

    Attributes:
        model: images (n, height, width, channels) to embeddings (n, dim) float32.
        backbone: the same up to the feature maps, before any pooling.
        taps: where it was cut, in the order of the vector.
    """

    model: Any
    backbone: Any
    taps: list[Tap]


def get_encoder(
    model: Any,
    layer: str | int = "auto",
    pooling: str = "gap",
    *,
    normalize: bool = False,
    input_size: tuple[int, int] | None = None,
) -> Any:
    """The part of a trained network up to a layer, with a pooling on top.

    Args:
        model: a built functional or Sequential keras.Model; the encoder shares its weights.
        layer: a name, an index (14), a negative index (-20, as in ``model.layers[-20]``), several
            of those with commas between them, or "auto".
        pooling: "gap" (global average), "max", "gem" or "flatten".
        normalize: scale vectors to unit length.
        input_size: (height, width) in pixels, for a network that leaves them open.

    Returns:
        A keras.Model, (n, height, width, channels) to (n, dim) float32.

    Raises:
        InputError: no such layer, or "auto" can't tell.
    """
    return cut_encoder(model, layer, pooling, normalize, input_size).model


def cut_encoder(
    model: Any,
    layer: str | int = "auto",
    pooling: str = "gap",
    normalize: bool = False,
    input_size: tuple[int, int] | None = None,
) -> Cut:
    """Like get_encoder, but also tells where it cut and why."""
    graph = trace(model, input_size)
    taps = find_taps(graph, layer)
    for tap in taps:
        if tap.step.is_input:
            raise InputError(f"layer {tap.step.name!r} is the input itself; name a later one")
    outputs = [tap.step.output for tap in taps]
    backbone = keras.Model(graph.input, outputs, name="backbone")
    vector = pool_taps(outputs, pooling, normalize)
    return Cut(keras.Model(graph.input, vector, name="encoder"), backbone, taps)


def check_cut(
    original: Any, cut: Cut, images: NDArray[np.float32], pooling: str, normalize: bool
) -> float:
    """Run images through the original and the cut, and compare.

    The original runs whole and is only listened to at the tapped layers, so nothing of the way
    in which the encoder was cut can hide a mistake.

    Args:
        original: the trained model.
        cut: what was cut out of it.
        images: (n, height, width, channels) float32, preprocessed.
        pooling, normalize: as given to the cut.

    Returns:
        The largest difference, as a share of the largest value.

    Raises:
        CutMismatchError: the difference is above TOLERANCE, or a value is not finite.
    """
    maps = _listen(original, [tap.step.layer for tap in cut.taps], images)
    expected = pool_numpy(maps, pooling, normalize)
    found = np.asarray(cut.model(images, training=False), np.float64)
    names = ", ".join(tap.step.name for tap in cut.taps)
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise CutMismatchError(
            f"the encoder cut at {names} gives {found.shape} values, of which "
            f"{np.count_nonzero(~np.isfinite(found))} are not finite; the original gives "
            f"{expected.shape}"
        )
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
    if difference > TOLERANCE:
        raise CutMismatchError(
            f"the encoder cut at {names} differs from the original network by {difference:.2g} of "
            f"the largest value; at most {TOLERANCE:g} was expected. Please report this network"
        )
    return difference


def _listen(original: Any, layers: list[Any], images: NDArray[np.float32]) -> list[NDArray[Any]]:
    heard: dict[int, NDArray[Any]] = {}

    def listen_to(layer: Any) -> None:
        compute = layer.call

        def call(*arguments: Any, **options: Any) -> Any:
            output = compute(*arguments, **options)
            heard[id(layer)] = np.asarray(keras.ops.convert_to_numpy(output))
            return output

        layer.call = call

    try:
        for layer in layers:
            listen_to(layer)
        original(images, training=False)
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
    return [heard[id(layer)] for layer in layers]
