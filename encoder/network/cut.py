"""Cut the encoder out of a trained network, and check that it computes the same."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.errors import CutMismatchError, InputError
from encoder.network.graph import Graph, function_of, makers_of, trace
from encoder.network.layout import check_maps
from encoder.network.pool_numpy import GEM_P, pool_numpy
from encoder.network.pooling import pool_taps, pooled_tensors
from encoder.network.taps import Selector, Tap, find_taps
from encoder.spec import Pooling

if TYPE_CHECKING:
    from keras.src.ops.function import Function

# Largest difference allowed, as a share of the largest value. Network and encoder run the same
# kernels in float32; only the order of the sums in the pooling differs.
TOLERANCE = 1e-5
_LARGEST_GEM_P = 20.0  # higher powers leave the range of float32, and "max" is their limit


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to cut and pool; for the fields, see the arguments of get_encoder.

    Raises:
        InputError: gem_p is out of range.
    """

    layer: Selector = "auto"
    pooling: Pooling = "gap"
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
        backbone: images to the tapped feature maps, before any pooling.
        taps: the steps at which the network was cut, in the order of the vector.
        graph: the original network.
        recipe: the settings that the network was cut and pooled with.
    """

    model: keras.Model
    backbone: keras.Model
    taps: list[Tap]
    graph: Graph
    recipe: Recipe


def get_encoder(
    model: keras.Model,
    layer: Selector = "auto",
    pooling: Pooling = "gap",
    *,
    normalize: bool = False,
    gem_p: float = GEM_P,
    input_size: tuple[int, int] | None = None,
    input_name: str | None = None,
) -> keras.Model:
    """The part of a trained network up to a layer, with a pooling on top.

    Args:
        model: a built functional or Sequential keras.Model; the encoder shares its weights.
        layer: a name, an index (14), a negative index (-20, as in ``model.layers[-20]``), "auto",
            or several of these, as a list or separated by commas.
        pooling: "gap" (global average), "max", "gem" or "flatten".
        normalize: scale vectors to unit length.
        gem_p: the exponent of "gem".
        input_size: (height, width) in pixels, for a network that leaves them open.
        input_name: the input that takes the image, for a network with several.

    Returns:
        A model, (n, height, width, channels) to (n, dim) float32.

    Raises:
        InputError: there is no such layer, "auto" finds none or several, the model has no graph of
            layers, or an argument does not fit it.
    """
    recipe = Recipe(layer, pooling, normalize, gem_p, input_size, input_name)
    return cut_encoder(model, recipe).model


def cut_encoder(model: keras.Model, recipe: Recipe) -> Cut:
    """Like get_encoder, but also returns the backbone, the taps and the traced network.

    Raises:
        InputError: as for get_encoder.
    """
    graph = trace(model, recipe.input_size, recipe.input_name)
    taps = find_taps(graph, recipe.layer)
    for tap in taps:
        if tap.step.is_input:
            raise InputError(f"layer {tap.step.name!r} is the input itself; name a later one")
    check_maps(graph, [tap.step for tap in taps])
    outputs = [tap.step.output for tap in taps]
    _make_names_unique(graph, outputs)
    backbone = keras.Model(graph.input, outputs, name="backbone")
    _check_dtypes(backbone)
    vector = pool_taps(outputs, recipe.pooling, recipe.normalize, recipe.gem_p)
    encoder = keras.Model(graph.input, vector, name="encoder")
    return Cut(encoder, backbone, taps, graph, recipe)


def _check_dtypes(backbone: keras.Model) -> None:
    """Refuse layers that compute in whole numbers, as Discretization of Keras 3.0 to 3.5 does.

    Compiled, they round their input first; called directly, they do not. So the proof says nothing.
    """
    for layer in backbone.layers:
        dtype = str(getattr(layer, "compute_dtype", "float32"))
        if "float" not in dtype and not isinstance(layer, keras.layers.InputLayer):
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) computes in {dtype}: Keras gives "
                "other values for it when it compiles the network than when it calls it. Name a "
                "layer before it with --layer, or build it with dtype='float32'"
            )


def backbone_of(encoder: keras.Model) -> keras.Model:
    """The part of an encoder before the pooling; works on a loaded encoder, too."""
    return keras.Model(encoder.input, pooled_tensors(encoder), name="backbone")


def check_cut(cut: Cut, images: NDArray[np.float32]) -> float:
    """Compute the embeddings of images with the original network and with the cut, and compare.

    The original network runs, until the outputs of its tapped layers are recorded. So the
    comparison does not depend on the code that cuts, nor on the layers behind the taps.

    Args:
        cut: the encoder and the network that it was cut out of.
        images: (n, height, width, channels) float32, preprocessed.

    Returns:
        The largest difference, as a share of the largest value.

    Raises:
        CutMismatchError: the difference is above TOLERANCE, or a value is not finite.
    """
    recipe = cut.recipe
    maps = _tapped_outputs(cut, images)
    expected = pool_numpy(maps, recipe.pooling, recipe.normalize, recipe.gem_p)
    found = np.asarray(cut.model(images, training=False), np.float64)
    names = ", ".join(tap.step.name for tap in cut.taps)
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise CutMismatchError(
            f"the encoder cut at {names} gives {found.shape} values, of which "
            f"{np.count_nonzero(~np.isfinite(found))} are not finite; the original gives "
            f"{expected.shape}"
        )
    largest = np.abs(expected).max()
    if recipe.pooling == "gap" and not recipe.normalize:  # means may be small where values are not
        sizes = [np.abs(each) for each in maps]
        largest = max(largest, pool_numpy(sizes, "gap", False, recipe.gem_p).max())
    difference = float(np.abs(found - expected).max() / max(largest, 1e-30))
    if difference > TOLERANCE:
        raise CutMismatchError(
            f"the encoder cut at {names} differs from the original network by {difference:.2g} of "
            f"the largest value; at most {TOLERANCE:g} was expected. A network that draws random "
            "numbers at inference does that; otherwise please report it"
        )
    return difference


class _AllRecorded(BaseException):
    """Ends a run of the original network; Keras rewrites exceptions of other kinds."""


def _tapped_outputs(cut: Cut, images: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Run the original network until the outputs of all tapped layers are recorded."""
    recorded: dict[int, list[NDArray[np.float64]]] = {}
    steps = [tap.step for tap in cut.taps]

    def record(layer: keras.Operation) -> None:
        # Keras calls this method, too, if the layer's weights were quantized.
        name = "quantized_call" if getattr(layer, "quantization_mode", None) else "call"
        compute = getattr(layer, name)

        def call(*arguments: object, **options: object) -> object:
            output = compute(*arguments, **options)
            first = keras.tree.flatten(output)[0]
            recorded[id(layer)].append(np.asarray(keras.ops.convert_to_numpy(first), np.float64))
            if all(len(recorded[id(step.layer)]) > step.call for step in steps):
                raise _AllRecorded
            return output

        recorded[id(layer)] = []
        setattr(layer, name, call)

    layers = {id(step.layer): step.layer for step in steps}
    function = function_of(cut.graph.model)
    assert function is not None, "trace accepts only models with a graph of layers"
    try:
        for layer in layers.values():
            record(layer)
        function(_all_inputs(function, cut, images), training=False)
    except _AllRecorded:
        pass  # what lies behind the taps does not matter
    finally:
        for layer in layers.values():
            vars(layer).pop("call", None)
            vars(layer).pop("quantized_call", None)
    return [recorded[id(step.layer)][step.call] for step in steps]


def _all_inputs(function: Function, cut: Cut, images: NDArray[np.float32]) -> object:
    """The images, and zeros for the model's other inputs, in the structure that the model takes."""
    values = [
        images
        if tensor.name == cut.graph.input.name
        else np.zeros([side or 1 for side in (len(images), *tensor.shape[1:])], np.float32)
        for tensor in function.inputs
    ]
    return keras.tree.pack_sequence_as(function._inputs_struct, values)


def _make_names_unique(graph: Graph, outputs: list[keras.KerasTensor]) -> None:
    """Rename layers of different nested models that have the same name: a model can't hold both."""
    needed = makers_of(graph, outputs)
    names: dict[str, int] = {}
    for step in graph.steps:
        if step.is_model or id(step.output) not in needed:
            continue
        layer = step.layer
        if names.setdefault(layer.name, id(layer)) != id(layer):
            layer.name = step.name.partition(":")[0].replace("/", "_")
            names[layer.name] = id(layer)
