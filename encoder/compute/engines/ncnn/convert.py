"""From the steps of a Keras network to a network in ncnn's form."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from encoder.compute.engines.ncnn.form import INPUT, output_name
from encoder.compute.engines.ncnn.layers.activations import ACTIVATIONS
from encoder.compute.engines.ncnn.layers.convolutions import CONVOLUTIONS
from encoder.compute.engines.ncnn.layers.merging import MERGING
from encoder.compute.engines.ncnn.layers.operations import OPERATIONS
from encoder.compute.engines.ncnn.layers.reading import Converter, NotConvertibleError
from encoder.compute.engines.ncnn.layers.scales import SCALES
from encoder.compute.engines.ncnn.layers.sizes import SIZES
from encoder.compute.engines.ncnn.net import Blob, Net
from encoder.network.graph import Step, trace

if TYPE_CHECKING:
    import keras

_LAYERS = {**ACTIVATIONS, **CONVOLUTIONS, **MERGING, **SCALES, **SIZES}
_IDENTITIES = {
    *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
    *("Identity", "SpatialDropout1D", "SpatialDropout2D", "StochasticDepth"),
}
_FLOAT = ("float32", None)
_UNFORESEEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Converted(NamedTuple):
    """A network in ncnn's form.

    Attributes:
        param, weights: the contents of ``.param`` and ``.bin``.
        large_kernels: see Net.large_kernels.
    """

    param: bytes
    weights: bytes
    large_kernels: float


def convert(backbone: keras.Model) -> Converted:
    """Convert a network that takes preprocessed float32 images.

    Args:
        backbone: the network from the image to the tapped feature maps, with a fixed input size.

    Raises:
        NotConvertibleError: ncnn has no such layer; the message names it.
    """
    steps = trace(backbone).steps
    taken = Counter(id(tensor) for step in steps if not step.is_model for tensor in step.inputs)
    taken.update(id(tensor) for tensor in backbone.outputs)
    net = Net()
    blobs: dict[int, Blob] = {}
    readers: Counter[str] = Counter()  # of each blob, which may be the output of several steps
    for step in steps:
        if step.is_input:
            shape = step.output.shape[1:]
            image = net.add("Input", (), shape, {0: shape[1], 1: shape[0], 2: shape[2]})
            blobs[id(step.output)] = image
            readers[image.name] = taken[id(step.output)]
        elif not step.is_model:
            inputs = [blobs[id(tensor)] for tensor in step.inputs]
            # A convolution takes in what follows only if nothing else reads its output.
            alone = all(readers[blob.name] == 1 for blob in inputs)
            made = blobs[id(step.output)] = _converted(net, step, inputs, alone)
            readers[made.name] += taken[id(step.output)] - (made in inputs)
    net.layers[0].outputs = [INPUT]
    for layer in net.layers:
        layer.inputs = [INPUT if name == image.name else name for name in layer.inputs]
    image.name = INPUT
    outputs = [blobs[id(tensor)] for tensor in backbone.outputs]
    named = [(blob, output_name(number)) for number, blob in enumerate(outputs)]
    param, weights = net.files(named)
    return Converted(param.encode(), weights, net.large_kernels())


def _converted(net: Net, step: Step, inputs: list[Blob], alone: bool) -> Blob:
    layer = step.layer
    kind = type(layer).__name__
    what = f"layer {step.name!r} ({kind})"
    dtype = getattr(layer, "compute_dtype", None)
    if dtype not in _FLOAT or getattr(layer, "quantization_mode", None):
        raise NotConvertibleError(f"{what} computes in {dtype}, ncnn here in float32 only")
    if any(len(blob.shape) > 3 or None in blob.shape for blob in inputs):
        raise NotConvertibleError(f"{what} takes {[(None, *blob.shape) for blob in inputs]}")
    if _is_identity(layer):
        return inputs[0]
    convert_step = _converter_of(layer)
    if convert_step is None:
        raise NotConvertibleError(
            f"{what} is of a kind that ncnn lacks, or that is not written yet"
        )
    try:
        blob = convert_step(net, step, inputs, alone)
    except NotConvertibleError as error:
        raise NotConvertibleError(f"{what} {error}") from error
    except _UNFORESEEN as error:  # Keras can compute it: extract shall not fail for that
        raise NotConvertibleError(
            f"{what} has settings that were not foreseen: {error!r}"
        ) from error
    expected = tuple(step.shape[1:])
    if tuple(blob.shape) != expected:
        raise NotConvertibleError(f"{what} gives {expected}, in ncnn's form {tuple(blob.shape)}")
    return blob


def _converter_of(layer: keras.Operation) -> Converter | None:
    """Layers and operations of Keras only: classes of users may have the same names."""
    module, name = type(layer).__module__, type(layer).__name__
    if module.startswith("keras.src.ops."):
        return OPERATIONS.get(name)
    if module.startswith(("keras.src.", "encoder.")):
        return _LAYERS.get(name)
    return None


def _is_identity(layer: keras.Operation) -> bool:
    """Whether a layer changes nothing at inference."""
    name, module = type(layer).__name__, type(layer).__module__
    is_random = name.startswith("Random") and ".preprocessing" in module
    return module.startswith(("keras.src.", "encoder.")) and (name in _IDENTITIES or is_random)
