"""The id of an encoder: the same for the same network, in any file format and on any machine."""

from __future__ import annotations

import hashlib
import inspect
import json

import keras
import numpy as np

from encoder.network.graph import Step, trace

# Settings of a layer that do not affect vectors: names, and settings for training.
_WITHOUT_EFFECT = {"name", "trainable", "dtype", "synchronized", "momentum"}
_WITHOUT_EFFECT_IN_DROPOUT = {"rate", "seed", "noise_shape", "data_format"}
_WITHOUT_EFFECT_IN_SHEAR = {"x_factor", "y_factor"}
_WITHOUT_EFFECT_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_ID_DIGITS = 16


def encoder_id(backbone: keras.Model, settings: dict[str, object]) -> str:
    """16 hex digits of a SHA-256 over everything that affects the vectors.

    Args:
        backbone: the network from the image to the tapped feature maps, in the vector's order.
        settings: the other settings: pooling, preprocessing, resize, fit, precision, input size ...

    Raises:
        TypeError: a layer's setting is an object that has no stable form in JSON.
    """
    digest = hashlib.sha256()
    places: dict[int, int] = {}
    for step in trace(backbone).steps:
        origins = [places[id(tensor)] for tensor in step.inputs]
        for tensor in step.outputs:
            places[id(tensor)] = len(places)
        if step.is_input:
            continue  # its size is in the settings, and its name has no effect
        layer = step.layer
        dtype = getattr(layer, "compute_dtype", None)
        digest.update(_line(type(layer).__name__, _effective_config(step), dtype))
        digest.update(_line(origins, _arguments(step)))
        for weight in getattr(layer, "weights", []):
            digest.update(_line(np.asarray(weight.numpy())))
    digest.update(_line([places[id(tensor)] for tensor in backbone.outputs], settings))
    return digest.hexdigest()[:_ID_DIGITS]


def _arguments(step: Step) -> object:
    """A step's arguments; ``x[..., 0]`` as ``x[:, :, :, 0]``, which means the same."""
    if type(step.layer).__name__ != "GetItem" or step.arguments is None:
        return step.arguments
    (tensor, key), options = step.arguments
    parts = list(key) if isinstance(key, list | tuple) else [key]
    if any(part is Ellipsis for part in parts):
        place = next(i for i, part in enumerate(parts) if part is Ellipsis)
        rank = len(step.inputs[0].shape)
        parts[place : place + 1] = [slice(None)] * (rank - len(parts) + 1)
    return [[tensor, parts], options]


def _effective_config(step: Step) -> dict[str, object]:
    """A layer's config without names, training settings and defaults.

    Defaults are left out so that an id stays the same when a later version of Keras adds a setting.
    """
    layer, ignored = step.layer, _WITHOUT_EFFECT
    if "Dropout" in type(layer).__name__:
        ignored = ignored | _WITHOUT_EFFECT_IN_DROPOUT
    if type(layer).__name__ == "RandomShear":
        ignored = ignored | _WITHOUT_EFFECT_IN_SHEAR
    defaults = {
        name: None if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(type(layer).__init__).parameters.items()
    }
    config = layer.get_config()
    if "axis" in config:  # Keras 2 counts from the front, Keras 3 from the end
        config["axis"] = _from_end(config["axis"], len(step.inputs[0].shape))
    return {
        key: _without_names(value)
        for key, value in config.items()
        if key not in ignored
        and not key.endswith(_WITHOUT_EFFECT_ENDINGS)
        and _plain(value) != _plain(defaults.get(key))
    }


def _without_names(value: object) -> object:
    """The config of a layer inside a layer (TimeDistributed ...) without settings of no effect."""
    if isinstance(value, dict):
        return {
            key: _without_names(inner)
            for key, inner in value.items()
            if key not in _WITHOUT_EFFECT and key not in ("build_config", "shared_object_id")
        }
    return value


def _from_end(axis: object, rank: int) -> object:
    if isinstance(axis, list | tuple) and len(axis) == 1:
        (axis,) = axis
    return axis - rank if isinstance(axis, int) and axis >= 0 else axis


def _line(*values: object) -> bytes:
    return json.dumps(_plain(values), sort_keys=True).encode() + b"\n"


def _plain(value: object) -> object:
    """A value in JSON's types; an array or tensor as its dtype, shape and the hash of its bytes."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, slice):
        return ["slice", _plain(value.start), _plain(value.stop), _plain(value.step)]
    if value is Ellipsis:
        return "..."
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if callable(value):  # a function or class, such as an activation that is a default
        return getattr(value, "__name__", str(value))
    raise TypeError(f"no way to tell {value!r} ({type(value).__name__}) from another in an id")
