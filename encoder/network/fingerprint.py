"""The id of an encoder: equal for the same network, however, wherever and whenever it was saved."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import numpy as np

from encoder.network.graph import Step, trace

# Settings of a layer that no vector depends on: names, and what only matters in training.
_WITHOUT_EFFECT = {"name", "trainable", "dtype", "synchronized", "momentum"}
_WITHOUT_EFFECT_IN_DROPOUT = {"rate", "seed", "noise_shape", "data_format"}
_WITHOUT_EFFECT_ENDINGS = ("_initializer", "_regularizer", "_constraint")
_ID_DIGITS = 16


def encoder_id(backbone: Any, settings: dict[str, Any]) -> str:
    """16 hex digits over everything that decides the vectors.

    Args:
        backbone: keras.Model from the image to the tapped feature maps, in the vector's order.
        settings: the rest: pooling, preprocessing, resize, fit, precision, input size ...
    """
    digest = hashlib.sha256()
    places: dict[int, int] = {}
    for step in trace(backbone).steps:
        origins = [places[id(tensor)] for tensor in step.inputs]
        for tensor in step.outputs:
            places[id(tensor)] = len(places)
        if step.is_input:
            continue  # its size is among the settings, its name has no effect
        layer = step.layer
        dtype = getattr(layer, "compute_dtype", None)
        _feed(digest, type(layer).__name__, _effective_config(step), dtype)
        _feed(digest, origins, _arguments(step))
        for weight in getattr(layer, "weights", []):
            _feed(digest, np.asarray(weight.numpy()))
    _feed(digest, [places[id(tensor)] for tensor in backbone.outputs], settings)
    return digest.hexdigest()[:_ID_DIGITS]


def _arguments(step: Step) -> Any:
    """What a step was called with; ``x[..., 0]`` as ``x[:, :, :, 0]``, which is the same."""
    if type(step.layer).__name__ != "GetItem":
        return step.arguments
    (tensor, key), options = step.arguments
    parts = list(key) if isinstance(key, list | tuple) else [key]
    if any(part is Ellipsis for part in parts):
        place = next(i for i, part in enumerate(parts) if part is Ellipsis)
        rank = len(step.inputs[0].shape)
        parts[place : place + 1] = [slice(None)] * (rank - len(parts) + 1)
    return [[tensor, parts], options]


def _effective_config(step: Step) -> dict[str, Any]:
    """A layer's configuration without names, training settings and defaults.

    Defaults are left out so that a setting which a later version of Keras adds changes no id.
    """
    layer, idle = step.layer, _WITHOUT_EFFECT
    if "Dropout" in type(layer).__name__:
        idle = idle | _WITHOUT_EFFECT_IN_DROPOUT
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(layer).__init__).parameters.items()
    }
    config = layer.get_config()
    if "axis" in config:  # Keras 2 counts from the front, Keras 3 from the end
        config["axis"] = _from_end(config["axis"], len(step.inputs[0].shape))
    return {
        key: _without_names(value)
        for key, value in config.items()
        if key not in idle
        and not key.endswith(_WITHOUT_EFFECT_ENDINGS)
        and _plain(value) != _plain(_stated(defaults.get(key)))
    }


def _stated(default: Any) -> Any:
    return None if default is inspect.Parameter.empty else default


def _without_names(value: Any) -> Any:
    """The same for a layer in a layer, such as in TimeDistributed or SpectralNormalization."""
    if isinstance(value, dict):
        return {
            key: _without_names(inner)
            for key, inner in value.items()
            if key not in _WITHOUT_EFFECT and key not in ("build_config", "shared_object_id")
        }
    return value


def _from_end(axis: Any, rank: int) -> Any:
    (axis,) = axis if isinstance(axis, list | tuple) and len(axis) == 1 else (axis,)
    return axis - rank if isinstance(axis, int) and axis >= 0 else axis


def _feed(digest: Any, *values: Any) -> None:
    digest.update(json.dumps(_plain(values), sort_keys=True).encode() + b"\n")


def _plain(value: Any) -> Any:
    """A value as JSON can say it; arrays and tensors by type, shape and content."""
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
    if callable(value):  # an activation that a layer's default names, a dtype
        return getattr(value, "__name__", str(value))
    raise TypeError(f"no way to tell {value!r} ({type(value).__name__}) from another in an id")
