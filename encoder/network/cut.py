"""Cut the encoder out of a trained network, and prove that it computes the same."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.errors import CutMismatchError, InputError
from encoder.network.graph import Graph, function_of, makers_of, trace
from encoder.network.pooling import GEM_P, pool_numpy, pool_taps, pooled_tensors
from encoder.network.taps import Selector, Tap, find_taps

# Share of the largest value. Both sides run the same kernels in float32; only the order of the
# sums in the pooling differs.
TOLERANCE = 1e-5
_LARGEST_GEM_P = 20.0  # powers beyond that leave the range of float32; "max" is the limit anyway


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to cut and pool; the arguments of get_encoder."""

    layer: Selector = "auto"
    pooling: str = "gap"
    normalize: bool = False
    gem_p: float = GEM_P
    input_size: tuple[int, int] | None = None
    input_name: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gem_p) and 0 < self.gem_p <= _LARGEST_GEM_P):
            raise InputError(f"gem_p (--gem-p) is {self.gem_p}; expected above 0, at most 20")


class Cut(NamedTuple):
    """An encoder cut out of a network.

    Attributes:
        model: images (n, height, width, channels) to embeddings (n, dim) float32.
        backbone: the same up to the feature maps, before any pooling.
        taps: where it was cut, in the order of the vector.
        graph: the network that it was cut out of.
        recipe: how.
    """

    model: Any
    backbone: Any
    taps: list[Tap]
    graph: Graph
    recipe: Recipe


def get_encoder(
    model: Any,
    layer: Selector = "auto",
    pooling: str = "gap",
    *,
    normalize: bool = False,
    gem_p: float = GEM_P,
    input_size: tuple[int, int] | None = None,
    input_name: str | None = None,
) -> Any:
    """The part of a trained network up to a layer, with a pooling on top.

    Args:
        model: a built functional or Sequential keras.Model; the encoder shares its weights.
        layer: a name, an index (14), a negative index (-20, as in ``model.layers[-20]``), several
            of those as a list or with commas between them, or "auto".
        pooling: "gap" (global average), "max", "gem" or "flatten".
        normalize: scale vectors to unit length.
        gem_p: the exponent of "gem".
        input_size: (height, width) in pixels, for a network that leaves them open.
        input_name: the input that takes the image, for a network with several.

    Returns:
        A keras.Model, (n, height, width, channels) to (n, dim) float32.

    Raises:
        InputError: no such layer, or "auto" can't tell.
    """
    recipe = Recipe(layer, pooling, normalize, gem_p, input_size, input_name)
    return cut_encoder(model, recipe).model


def cut_encoder(model: Any, recipe: Recipe) -> Cut:
    """Like get_encoder, but also tells where it cut and why."""
    graph = trace(model, recipe.input_size, recipe.input_name)
    taps = find_taps(graph, recipe.layer)
    for tap in taps:
        if tap.step.is_input:
            raise InputError(f"layer {tap.step.name!r} is the input itself; name a later one")
    outputs = [tap.step.output for tap in taps]
    _tell_apart(graph, outputs)
    backbone = keras.Model(graph.input, outputs, name="backbone")
    vector = pool_taps(outputs, recipe.pooling, recipe.normalize, recipe.gem_p)
    encoder = keras.Model(graph.input, vector, name="encoder")
    return Cut(encoder, backbone, taps, graph, recipe)


def backbone_of(encoder: Any) -> Any:
    """The part of a cut-out encoder before the pooling, also after it was saved and loaded."""
    return keras.Model(encoder.input, pooled_tensors(encoder), name="backbone")


def check_cut(cut: Cut, images: NDArray[np.float32]) -> float:
    """Run images through the original and the cut, and compare.

    The original runs whole and is only listened to at the tapped layers, so nothing of the way
    in which the encoder was cut can hide a mistake.

    Args:
        cut: what was cut out.
        images: (n, height, width, channels) float32, preprocessed.

    Returns:
        The largest difference, as a share of the largest value.

    Raises:
        CutMismatchError: the difference is above TOLERANCE, or a value is not finite.
    """
    recipe = cut.recipe
    maps = _listen(cut, images)
    expected = pool_numpy(maps, recipe.pooling, recipe.normalize, recipe.gem_p)
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
            f"the largest value; at most {TOLERANCE:g} was expected. A network that draws random "
            "numbers at inference does that; otherwise please report it"
        )
    return difference


def _listen(cut: Cut, images: NDArray[np.float32]) -> list[NDArray[Any]]:
    """What the tapped layers give while the whole original runs."""
    heard: dict[int, list[NDArray[Any]]] = {}

    def listen_to(layer: Any) -> None:
        compute = layer.call

        def call(*arguments: Any, **options: Any) -> Any:
            output = compute(*arguments, **options)
            first = keras.tree.flatten(output)[0]
            heard[id(layer)].append(np.asarray(keras.ops.convert_to_numpy(first)))
            return output

        heard[id(layer)] = []
        layer.call = call

    layers = {id(tap.step.layer): tap.step.layer for tap in cut.taps}
    try:
        for layer in layers.values():
            listen_to(layer)
        function = function_of(cut.graph.model)
        function(_all_inputs(function, cut, images), training=False)
    finally:
        for layer in layers.values():
            vars(layer).pop("call", None)
    return [heard[id(tap.step.layer)][tap.step.call] for tap in cut.taps]


def _all_inputs(function: Any, cut: Cut, images: NDArray[np.float32]) -> Any:
    """The images, and zeros for the model's other inputs, in the structure that it takes."""
    values = [
        images
        if tensor.name == cut.graph.input.name
        else np.zeros([side or 1 for side in (len(images), *tensor.shape[1:])], np.float32)
        for tensor in function.inputs
    ]
    return keras.tree.pack_sequence_as(function._inputs_struct, values)


def _tell_apart(graph: Graph, outputs: list[Any]) -> None:
    """Rename layers of different nested models that bear one name; a model needs them distinct."""
    needed = makers_of(graph, outputs)
    names: dict[str, int] = {}
    for step in graph.steps:
        if step.is_model or id(step.output) not in needed:
            continue
        layer = step.layer
        if names.setdefault(layer.name, id(layer)) != id(layer):
            layer.name = step.name.partition(":")[0].replace("/", "_")
            names[layer.name] = id(layer)
