"""Rewrite configs that earlier versions of Keras 3 wrote, so that today's reads them rightly."""

from __future__ import annotations

import inspect

import keras

from encoder.model_files.keras2_layers import Config


def modernize_keras3(config: object) -> bool:
    """Rewrite the config of a model that an earlier version of Keras 3 wrote, in place.

    Two differences keep Keras 3.15 from reading such models. Up to Keras 3.10 or 3.11, a functional
    model lists its inputs and outputs even if there is one; later versions read that as a model
    that takes or returns a list. Then it warns of tensors, and the next layer of a Sequential model
    can't take what it returns. And random augmentations had settings
    that their later versions refuse; at inference they do nothing.

    Args:
        config: the config of a model of Keras 3, from a .keras or .h5 file.

    Returns:
        Whether the config was changed.
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
                changed = _drop_old_settings(part) or changed
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
