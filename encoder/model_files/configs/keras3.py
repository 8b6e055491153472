"""Rewrite configs that earlier versions of Keras 3 wrote, so that today's reads them rightly."""

from __future__ import annotations

import inspect

import keras

from encoder.errors import InputError
from encoder.model_files.configs.keras2_layers import Config, crop_middle, drop_dot

# Versions whose RandomCrop works at inference, too.
_CROPS_THE_MIDDLE = tuple(f"3.{minor}." for minor in range(6))
_CROPS_ELSEWHERE = ("3.6.", "3.7.")


def modernize_keras3(config: object, version: str) -> bool:
    """Rewrite the config of a model that an earlier version of Keras 3 wrote, in place.

    Keras 3.15 reads these otherwise, or not at all:

    - Up to Keras 3.10 or 3.11, a functional model lists its inputs and outputs even if there is
      one. Later versions read that as a model that takes or returns a list; they warn of a tensor,
      and the next layer of a Sequential model can't take what the model returns.
    - Random augmentations had other settings. At inference, they do nothing, but for RandomCrop.
    - The default of an attention, in an .h5 file.

    Args:
        config: the config of a model of Keras 3, from a .keras or .h5 file.
        version: the version that wrote it, such as "3.5.0".

    Returns:
        Whether the config was changed.

    Raises:
        InputError: the version had a RandomCrop that no layer of Keras 3.15 computes.
    """
    if not (isinstance(config, dict) and isinstance(config.get("config"), dict)):
        return False
    changed = _unwrap(config, "input_layers")  # what the model itself returns stays as it is
    waiting: list[object] = [config["config"]]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if isinstance(part.get("config"), dict):
                takes_list = _takes_list(part)
                changed = (not takes_list and _unwrap(part, "input_layers")) or changed
                changed = _unwrap(part, "output_layers") or changed
                changed = _modernize_layer(part, version) or changed
            waiting.extend(part.values())
    return changed


def _unwrap(model: Config, key: str) -> bool:
    """Make the one input or output of a model, as in [["conv", 0, 0]], a tensor and not a list."""
    ends = model["config"].get(key)
    if not (isinstance(ends, list) and len(ends) == 1 and isinstance(ends[0], list)):
        return False
    (model["config"][key],) = ends
    return True


def _takes_list(model: Config) -> bool:
    """Whether a nested model is called with a list of tensors."""
    nodes = model.get("inbound_nodes")
    calls = [node.get("args") for node in nodes or () if isinstance(node, dict)]
    return any(isinstance(args, list) and args and isinstance(args[0], list) for args in calls)


def _modernize_layer(layer: Config, version: str) -> bool:
    """Rewrite a layer's config, in place."""
    kind = layer.get("class_name")
    if kind in ("Attention", "AdditiveAttention") and layer["config"].get("score_mode") == "dot":
        drop_dot(layer)
        return True
    if kind == "RandomCrop" and version.startswith(_CROPS_ELSEWHERE):
        raise InputError(
            f"layer {layer['config'].get('name')!r} (RandomCrop) is from Keras {version}, whose "
            "RandomCrop also crops at inference, at a place that no layer of Keras "
            f"{keras.__version__} takes; remove it from the network and save the network again"
        )
    if kind == "RandomCrop" and version.startswith(_CROPS_THE_MIDDLE):
        crop_middle(layer)
        return True
    if kind == "RandomShear":  # at inference it does nothing; Keras can't read what it writes
        layer["config"].update(x_factor=0.0, y_factor=0.0)
        return True
    return _drop_old_settings(layer)


def _drop_old_settings(layer: Config) -> bool:
    """Drop the settings of a random augmentation that it does not have today."""
    kind = layer.get("class_name")
    found = getattr(keras.layers, kind, None) if isinstance(kind, str) else None
    if not (str(kind).startswith("Random") and inspect.isclass(found)):
        return False
    known = {"name", "trainable", "dtype"}
    for base in inspect.getmro(found):
        known.update(inspect.signature(vars(base).get("__init__", found)).parameters)
    old = set(layer["config"]) - known
    for key in old:
        del layer["config"][key]
    return bool(old)
