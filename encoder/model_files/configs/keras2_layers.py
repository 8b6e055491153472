"""Layers of Keras 2 that Keras 3 lacks, and settings of layers that Keras 3 reads otherwise.

``modernize_layers`` rewrites the config of a Keras 2 model. A layer that does nothing at inference
becomes an Identity. A layer that computes something that no layer of Keras 3 computes becomes a
layer of ``own_layers``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from encoder.errors import InputError
from encoder.model_files.configs.own_layers import (
    LocallyConnected1D,
    LocallyConnected2D,
    ThresholdedReLU,
)
from encoder.stand_ins import SEQUENTIAL

Config: TypeAlias = dict[str, Any]  # a model's or layer's config: any JSON object

# Known in Keras 2 only; what takes their place is below.
KERAS2_LAYERS = (
    *("BatchNormalizationV1", "BatchNormalizationV2", "LocallyConnected1D", "LocallyConnected2D"),
    *("FixedDropout", "RandomHeight", "RandomWidth", "SyncBatchNormalization", "ThresholdedReLU"),
)
# Not layers: limits of weights in training, and the dtype policies of Keras 2.1 to 2.3.
KERAS2_SETTINGS = ("DynamicLossScale", "FixedLossScale", "PolicyV1", "RadialConstraint")
_BATCH_NORMALIZATIONS = ("BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization")
# They do something in training only. The packages efficientnet and segmentation_models define
# FixedDropout, a Dropout, in files of theirs that are everywhere.
_IDENTITIES = ("FixedDropout", "Layer", "RandomHeight", "RandomWidth")
_OWN = tuple(kind.__name__ for kind in (LocallyConnected1D, LocallyConnected2D, ThresholdedReLU))
# Where Keras 3 has the models that Keras 2 writes with modules of its own.
_MODEL_MODULES = {
    "Functional": "keras.src.models.functional",
    "Model": "keras",
    "Sequential": "keras",
}
# Functions of TensorFlow whose names are not those under which they are public.
ACTIVATIONS = {"softmax_v2": "softmax", "log_softmax_v2": "log_softmax"}
# Where the settings of a layer hold other layers.
_HOLDERS = ("layer", "forward_layer", "backward_layer", "cell", "cells", "activation")
_KEPT = ("name", "trainable", "dtype", "filters", "kernel_size", "strides", "activation")
_POLICIES = ("Policy", "PolicyV1")
_INFERRED = ("_infer", "infer")  # the policy of a layer that takes the dtype of its first input


def modernize_layers(config: object) -> None:
    """Rewrite the layers in the config of a Keras 2 model for Keras 3, in place.

    Args:
        config: the config of a model, with any models and layers in it. It must come from a file
            that Keras 2 wrote: Keras 3 gives some of the names another meaning.

    Raises:
        InputError: Keras 3 can't compute what a layer computes.
        KeyError, TypeError, AttributeError, ValueError: the config is damaged.
    """
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if str(part.get("class_name")).startswith(("Sequential", SEQUENTIAL)):
                _modernize_sequential(part)
            _replace_slashes(part)
            if isinstance(part.get("class_name"), str) and isinstance(part.get("config"), dict):
                _modernize(part)
            waiting.extend(part.values())


def check_convertible(config: object, name: str) -> None:
    """Refuse a layer that tf-keras can't read from the .keras file that Keras 2 writes.

    Args:
        config: the config of the model.
        name: the model file's path, for the message.

    Raises:
        InputError: there is such a layer; the message names it.
    """
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if part.get("class_name") == "SpectralNormalization":
                inner = part.get("config")
                layer = inner.get("name") if isinstance(inner, dict) else None
                raise InputError(
                    f"{name!r} has the layer {layer!r} (SpectralNormalization), which tf-keras "
                    "writes into a .keras file and can't read from it; save the model as .h5"
                )
            waiting.extend(part.values())


def _replace_slashes(part: Config) -> None:
    """Rename the layers of a model whose names have a "/", which Keras 3 forbids, in place.

    DenseNet121 of Keras 2 has "conv1/conv"; it becomes "conv1_conv". The weights in an .h5 file are
    found by their order.
    """
    config = part.get("config")
    if not isinstance(config, dict):
        return
    if "/" in str(config.get("name", "")):  # a layer in a wrapper, or the outermost model
        config["name"] = config["name"].replace("/", "_")
    layers = config.get("layers")
    if not isinstance(layers, list):
        return
    taken = {layer["config"]["name"] for layer in layers if isinstance(layer["config"], dict)}
    renamed: dict[str, str] = {}
    for name in sorted(name for name in taken if "/" in name):
        new = name.replace("/", "_")
        while new in taken:
            new += "_"
        taken.add(new)
        renamed[name] = new
    if not renamed:
        return
    for layer in layers:
        for place in (layer, layer["config"]):
            if place.get("name") in renamed:
                place["name"] = renamed[place["name"]]
        _rename_references(layer.get("inbound_nodes"), renamed)
    for key in ("input_layers", "output_layers"):
        _rename_references(config.get(key), renamed)


def _rename_references(value: object, renamed: dict[str, str]) -> None:
    """Rename the layers in references such as ["conv1/conv", 0, 0], in place."""
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            value[0] = renamed.get(value[0], value[0])
        for each in value:
            _rename_references(each, renamed)
    elif isinstance(value, dict):
        for each in value.values():
            _rename_references(each, renamed)


def _modernize_sequential(model: Config) -> None:
    """Give a Sequential model a name and an InputLayer, in place."""
    if isinstance(model.get("config"), list):  # Keras before 2.2.3 wrote no more than the layers
        model["config"] = {"name": model.get("name", "sequential"), "layers": model["config"]}
    layers = model["config"]["layers"]
    first = layers[0]["config"] if layers and layers[0]["class_name"] != "InputLayer" else {}
    if "batch_input_shape" in first:  # before TensorFlow 2.3; Keras 3 takes the batch for an axis
        keys = ("batch_input_shape", "dtype")
        settings = {**_only(first, keys), "name": f"{first['name']}_input"}
        del first["batch_input_shape"]
        _simplify_dtype(settings)
        settings["dtype"] = str(settings.get("dtype", "float32")).removeprefix("mixed_")
        layers.insert(0, {"class_name": "InputLayer", "config": settings})


def _modernize(layer: Config) -> None:
    """Rewrite the config of one layer, in place."""
    kind, config = layer["class_name"], layer["config"]
    _simplify_dtype(config)
    config.pop("rng_type", None)  # how Keras 2 drew random numbers in training
    if "name" not in config and hasattr(keras.initializers, kind):
        config.pop("dtype", None)  # TensorFlow 1.13 to 2.1 wrote it
    for key, value in config.items():
        if isinstance(value, dict) and set(value) == {"type", "value"}:
            config[key] = value["value"]  # how Keras before 2.3 wrote numbers of NumPy
    for key in ("kernel_constraint", "bias_constraint"):
        if isinstance(config.get(key), dict) and config[key]["class_name"] == "RadialConstraint":
            config[key] = None  # it is for training
    for key in _HOLDERS:  # Keras before 2.13 did not state the module of a layer in a layer
        held = config.get(key)
        for inner in held if isinstance(held, list) else [held]:
            if isinstance(inner, dict) and "class_name" in inner:
                inner.setdefault("module", "keras.layers")
                inner.setdefault("registered_name", None)
    for key in ("activation", "recurrent_activation"):
        found = config.get(key)
        name = found.get("config") if isinstance(found, dict) else found
        if isinstance(name, str) and name in ACTIVATIONS:
            config[key] = ACTIVATIONS[name]
        if config.get(key) == "hard_sigmoid":
            config[key] = {"class_name": "encoder>HardSigmoid", "config": {}}
    if config.pop("time_major", False):
        raise _not_computed(layer, "takes time as its first axis (time_major)")
    if "module" in layer and kind in _MODEL_MODULES:
        layer["module"] = _MODEL_MODULES[kind]
        layer.pop("build_config", None)
    if kind in _BATCH_NORMALIZATIONS:
        _rename(layer, "BatchNormalization")
    if kind in _IDENTITIES:
        layer["config"] = _only(config, ("name", "trainable", "dtype"))
        _rename(layer, "Identity")
    change = _CHANGES.get(kind)
    if change is not None:
        change(layer)
    if kind in _OWN:
        _rename(layer, f"encoder>{kind}")


def _simplify_dtype(config: Config) -> None:
    """A policy of Keras 2 to its name, such as "mixed_float16", which Keras 3 knows."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") in _POLICIES:
        config["dtype"] = dtype["config"]["name"]
    if config.get("dtype") in _INFERRED:
        del config["dtype"]


def _drop(*keys: str) -> Callable[[Config], None]:
    def drop(layer: Config) -> None:
        for key in keys:
            layer["config"].pop(key, None)

    return drop


def drop_dot(layer: Config) -> None:
    """Leave out the default of an attention; Keras 3 takes it for its function ``dot``."""
    if layer["config"].get("score_mode") == "dot":
        del layer["config"]["score_mode"]


def _change_attention(layer: Config) -> None:
    """Keras before 2.10 had the mask of causality as a setting; later it is given in the call."""
    if layer["config"].pop("causal", False):
        raise _not_computed(layer, "looks at earlier positions only (causal)")
    drop_dot(layer)


def _change_locally_connected(layer: Config) -> None:
    config = layer["config"]
    if config.get("implementation", 1) != 1:
        raise _not_computed(layer, f"stores its weights in the way {config['implementation']}")
    if config.get("data_format") == "channels_first":
        raise _not_computed(layer, "takes channels as its first axis")
    layer["config"] = _only(config, (*_KEPT, "use_bias"))


def _change_discretization(layer: Config) -> None:
    config = layer["config"]
    config.pop("trainable", None)
    if "bins" in config:  # before Keras 2.6
        config["bin_boundaries"] = config.pop("bins")


def _change_gru(layer: Config) -> None:
    layer["config"].setdefault("reset_after", False)  # what Keras 2 took where nothing is stated


def crop_middle(layer: Config) -> None:
    """Make a RandomCrop the Resizing that it is at inference before Keras 3.6, in place.

    It takes the middle of an image and resizes it; from Keras 3.8 on it returns the image as it is.
    """
    keys = ("name", "trainable", "dtype", "height", "width", "data_format")
    size = _only(layer["config"], keys)
    layer["config"] = {**size, "crop_to_aspect_ratio": True}
    _rename(layer, "Resizing")


def _change_resizing(layer: Config) -> None:
    """A resizing that only TensorFlow can do becomes TensorFlow's operation."""
    config = layer["config"]
    if config.get("interpolation") not in ("gaussian", "mitchellcubic"):
        return
    if config.get("crop_to_aspect_ratio"):
        raise _not_computed(layer, f"crops and resizes by {config['interpolation']!r}")
    options = {"size": [config["height"], config["width"]], "method": config["interpolation"]}
    layer["config"] = {
        **_only(config, ("name", "dtype")),
        "function": "image.resize",
        "arguments": json.dumps([{"__tensor__": 0}, options], sort_keys=True),
    }
    _rename(layer, "encoder>TensorFlowOperation")


_CHANGES: dict[str, Callable[[Config], None]] = {
    "AdditiveAttention": _change_attention,
    "Attention": _change_attention,
    "BatchNormalizationV1": _drop("fused", "virtual_batch_size"),
    "Discretization": _change_discretization,
    "GRU": _change_gru,
    "GRUCell": _change_gru,
    "LocallyConnected1D": _change_locally_connected,
    "LocallyConnected2D": _change_locally_connected,
    "MultiHeadAttention": _drop(
        "query_shape", "key_shape", "value_shape", "softmax_robust_masking"
    ),
    "RandomCrop": crop_middle,
    "Resizing": _change_resizing,
    **dict.fromkeys([f"SpatialDropout{n}D" for n in "123"], _drop("trainable", "noise_shape")),
}


def _only(config: Config, keys: tuple[str, ...]) -> Config:
    return {key: config[key] for key in keys if key in config}


def _rename(layer: Config, kind: str) -> None:
    layer["class_name"] = kind
    layer.pop("registered_name", None)
    if layer.get("module") is not None:  # inside of a wrapper
        layer["module"] = None if ">" in kind else "keras.layers"


def _not_computed(layer: Config, what: str) -> InputError:
    return InputError(
        f"layer {layer['config'].get('name')!r} ({layer['class_name']}), from a file of Keras 2, "
        f"{what}, which Keras 3 can't do; replace the layer in the network, or cut before it"
    )
