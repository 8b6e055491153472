"""The classes that a model file may name: what is not listed here is refused.

None of them runs code from the file, and none opens another file or a connection. Layers that do
are left out: Lambda, TFSMLayer, TorchModuleWrapper, JaxLayer, FlaxLayer, and the lookups of words
(StringLookup, IntegerLookup, TextVectorization), whose vocabulary may be a path or an address.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import ModuleType

import keras

from encoder.model_files.configs.keras2 import (
    OPERATION_CLASSES,
    application_layers,
    operation_classes,
)
from encoder.model_files.configs.keras2_layers import (
    ACTIVATIONS,
    KERAS2_LAYERS,
    KERAS2_SETTINGS,
)
from encoder.model_files.converter import APPLICATION_LAYERS

# A list and not "all of keras.layers but these": a later Keras may add a layer that reads files.
_LAYER_NAMES = """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional
    CategoryEncoding CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D
    Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D
    Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
    Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D
    DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU
    GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D
    GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer LSTM LSTMCell
    Layer LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention
    Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
    RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
    RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D
    SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells Subtract TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
    """
LAYERS = frozenset(_LAYER_NAMES.split())
MODELS = ("Functional", "Model", "Sequential")
# What Keras and its JSON write for values: tensors, slices, tuples. They make no object of a class
# that the file chooses.
VALUES = frozenset(
    [
        *("__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__", "__tuple__"),
        "TensorShape",
    ]
)
# Where Keras 2 has the classes that it writes with their modules.
_KERAS2_MODULES = {
    "Functional": "engine.functional",
    "Model": "engine.training",
    "Sequential": "engine.sequential",
    **dict.fromkeys(OPERATION_CLASSES, "layers.core.tf_op_layer"),
    **{name: f"applications.{module}" for name, module in APPLICATION_LAYERS.items()},
}
_KERAS2_PACKAGES = ("keras", "keras.src", "tf_keras", "tf_keras.src")
_OWN_PACKAGE = "encoder"
_CUSTOM = "Custom>"  # where Keras registers classes that name no package
# Operations that call a function, which a file would have to name.
_CALLING = {
    *("AssociativeScan", "Cond", "CustomGradient", "ForiLoop", "Map", "Scan", "Switch"),
    *("VectorizedMap", "WhileLoop"),
}


def is_known(name: str, module: str | None) -> bool:
    """Whether a class may be loaded; module is None where the file states none (.h5, Keras 2)."""
    if module is None:
        return name in _names()
    keras2 = {f"{package}.{_KERAS2_MODULES.get(name)}" for package in _KERAS2_PACKAGES}
    return module in _names().get(name, ()) or module in keras2


def is_own(name: str, module: str | None, registered: str | None) -> bool:
    """Whether it is a class of this package, written as Keras writes registered classes."""
    own = _own_names()
    if module is None and not registered:
        return name in own
    owner = (module or _OWN_PACKAGE).partition(".")[0]
    return own.get(registered or "") == name and owner == _OWN_PACKAGE


def is_application_layer(name: str, module: str | None, registered: str | None) -> bool:
    """Whether it is a layer that Keras defines beside its networks, perhaps as "Custom>name"."""
    plain = name.removeprefix(_CUSTOM)
    return (
        plain in APPLICATION_LAYERS
        and registered in (None, "", plain, _CUSTOM + plain)
        and not {plain, _CUSTOM + plain} & foreign_names()
        and is_known(plain, module)
    )


def foreign_names() -> set[str]:
    """Names under which this process has registered objects with Keras that are not ours."""
    layers = application_layers().values()
    registered = keras.saving.get_custom_objects().items()
    return {name for name, found in registered if found not in layers} - set(_own_names())


def _own_names() -> dict[str, str]:
    """The name of each class of this package, by the name that it is registered under."""
    return {
        name: found.__name__
        for name, found in keras.saving.get_custom_objects().items()
        if inspect.isclass(found)
        and found.__module__.partition(".")[0] == _OWN_PACKAGE
        and name == f"{_OWN_PACKAGE}>{found.__name__}"
    }


@functools.cache
def known_activations() -> frozenset[str]:
    """The names under which Keras, of any version, has activation functions."""
    functions = [name for name, found in vars(keras.activations).items() if callable(found)]
    return frozenset({*functions, *ACTIVATIONS})


@functools.cache
def _names() -> dict[str, frozenset[str]]:
    """The modules that each known class may be said to be in, by the class's name."""
    found: dict[str, set[str]] = {name: set() for name in OPERATION_CLASSES}
    for name, kind in _classes():
        found.setdefault(name, set()).add(kind.__module__)
    classes = {kind for _, kind in _classes()}
    public = ("layers", "models", "initializers", "regularizers", "constraints")
    spaces = [keras, *(getattr(keras, space) for space in public), *_settings(), keras.random]
    for space in spaces:
        for name, kind in _members(space):
            if kind in classes and name in found:
                found[name].add(space.__name__)
    found["Policy"] = {"keras.mixed_precision"}  # Keras 2's name of a dtype policy
    in_layers = {"keras.layers", "keras.layers.experimental"}
    found.update(dict.fromkeys(KERAS2_LAYERS, in_layers))
    found.update({name: {"keras.constraints"} for name in KERAS2_SETTINGS})
    return {name: frozenset(modules) for name, modules in found.items()}


def _classes() -> Iterator[tuple[str, type]]:
    from keras.src.models.functional import Functional

    yield "Functional", Functional
    yield from ((name, getattr(keras, name)) for name in ("Model", "Sequential"))
    layers = [(name, kind) for name, kind in _members(keras.layers) if name in LAYERS]
    yield from layers
    # .h5 files have the name in the code, which may be another (GroupedQueryAttention).
    yield from ((kind.__name__, kind) for _, kind in layers)
    yield from application_layers().items()
    yield from ((name, kind) for name, kind in operation_classes().items() if name not in _CALLING)
    yield "SeedGenerator", keras.random.SeedGenerator
    for space in (keras.initializers, keras.regularizers, keras.constraints, *_settings()):
        yield from _members(space)


def _settings() -> list[ModuleType]:
    return [keras.dtype_policies, keras.quantizers]


def _members(space: ModuleType) -> list[tuple[str, type]]:
    return [(name, found) for name, found in vars(space).items() if inspect.isclass(found)]
