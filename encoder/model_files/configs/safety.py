"""Check a model's config for code that it would run, before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from encoder.errors import InputError
from encoder.model_files.configs.keras2 import OPERATION_CLASSES, TensorFlowOperation, is_allowed
from encoder.model_files.configs.keras2_layers import ACTIVATIONS, Config
from encoder.model_files.configs.known_classes import (
    MODELS,
    VALUES,
    foreign_names,
    is_application_layer,
    is_known,
    is_own,
    known_activations,
)
from encoder.stand_ins import WAY_ON, is_stand_in

_DEEPEST = 300  # levels of brackets; a model nested 20 times has about 100
# Classes that call the function of TensorFlow that their config names.
_CALLING = (*OPERATION_CLASSES, TensorFlowOperation.__name__)
_INITIALIZER = "_initializer"
_FOR_TRAINING = (_INITIALIZER, "_regularizer", "_constraint")
_ACTIVATION = "activation"  # and "recurrent_activation", "gate_activation" ...
_NUMBERS = ("float", "int", "uint", "bool", "bfloat", "complex")


def parse_config(text: str | bytes, path: str) -> Config:
    """The JSON object in which Keras describes a model.

    Raises:
        InputError: it is no JSON object; the message names the file.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path!r} has a damaged description of its layers: {error}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{path!r} has a damaged description of its layers: expected a JSON object, found "
            f"{type(config).__name__}"
        )
    return config


def check_code(config: Config, path: str, allowed: Collection[str] = ()) -> None:
    """Refuse a model config that names anything but the known classes.

    Args:
        config: the model's config, as the JSON parser gave it. Exactly this is to be loaded.
        path: the model file's path, for the message.
        allowed: names of classes and functions of the user's that it may have, too.

    Raises:
        InputError: it has Lambda layers, custom classes, functions, or classes that read files; the
            message names the layers, and how to allow them.
    """
    if config.get("class_name") not in MODELS and not is_stand_in(config.get("class_name")):
        raise InputError(
            f"{path!r} holds a model of the class {config.get('class_name')!r}, a subclass of "
            "keras.Model, which has no graph of layers to cut in. Build the same layers as a "
            "functional or Sequential model, load the weights into it "
            "(new.set_weights(old.get_weights())), and save that"
        )
    found = [f"layer {layer!r} has {what}" for layer, what in foreign_parts(config, path, allowed)]
    if found:
        raise InputError(
            f"{path!r} needs code that is not part of Keras: {'; '.join(dict.fromkeys(found))}. "
            f"{WAY_ON}; or replace these layers by layers of Keras"
        )


def drop_training(config: object, *, of_layers: bool = False) -> None:
    """Remove what matters for training only from a config, in place.

    That is what models were compiled with: Keras compiles a model inside another one even if it is
    called with compile=False. With of_layers, initializers, regularizers and constraints are
    dropped, too. All of these may need code.
    """
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "class_name" in part:
                part.pop("compile_config", None)
            for key, value in part.items() if of_layers else ():
                if isinstance(value, str | dict) and key.endswith(_FOR_TRAINING):
                    part[key] = "zeros" if key.endswith(_INITIALIZER) else None
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def foreign_parts(
    config: Config, path: str, allowed: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """The layers, and what each has that is not part of Keras or of this package.

    Args:
        config: a model's or a layer's config.
        path: the model file's path, for the message.
        allowed: names of classes and functions that count as known.

    Raises:
        InputError: the config is nested too deep.
    """
    registered = foreign_names()
    waiting: list[tuple[object, str, int]] = [(config, "the model", 0)]
    while waiting:
        part, layer, depth = waiting.pop()
        if depth > _DEEPEST:
            raise InputError(
                f"{path!r} nests the description of its layers more than {_DEEPEST} levels deep, "
                "which no model saved by Keras does"
            )
        if isinstance(part, str):
            if part in registered and part not in allowed:
                yield layer, f"the custom object {part!r}"
            continue
        if isinstance(part, list):
            waiting.extend((inner, layer, depth + 1) for inner in reversed(part))
        if not isinstance(part, dict):
            continue
        if "class_name" in part:
            layer = _layer_name(part) or layer
            kind = _foreign_kind(part, allowed)
            if kind:
                yield layer, kind
                continue
        for key, value in part.items():
            is_function = key.endswith(_ACTIVATION) and isinstance(value, str)
            if is_function and value not in known_activations() and value not in allowed:
                yield layer, f"the function {value!r}"
        waiting.extend(
            (inner, layer, depth + 1) for key, inner in reversed(part.items()) if key != "name"
        )


def _layer_name(config: Config) -> str:
    return str(_setting(config, "name") or config.get("name") or "")


def _setting(config: Config, key: str) -> object:
    inner = config.get("config")
    return inner.get(key) if isinstance(inner, dict) else None


def _foreign_kind(config: Config, allowed: Collection[str]) -> str:
    """What an object that is not part of Keras or of this package is; "" for known objects."""
    kind, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    if not (isinstance(kind, str) and _is_text(module) and _is_text(registered)):
        return f"a class without a name: {kind!r}"
    if kind in VALUES:
        return _foreign_value(config)
    if is_stand_in(kind):
        return ""
    if kind == "Lambda":
        return "a Lambda"
    if kind in ("function", "__lambda__"):
        named = config.get("config")
        if kind == "function" and isinstance(named, str) and named in {*allowed, *ACTIVATIONS}:
            return ""
        return f"the function {config.get('config')!r}"
    if kind.removeprefix("encoder>") in _CALLING and not is_allowed(_setting(config, "function")):
        return (
            f"the function tf.{_setting(config, 'function')}, which is not among the operations "
            "that can be taken over from a Keras 2 file"
        )
    if is_own(kind, module, registered) or is_application_layer(kind, module, registered):
        return ""
    if kind in allowed or registered in allowed:
        return ""
    if registered not in (None, "", kind) or ">" in kind:
        return f"the custom class {registered or kind!r}"
    if kind not in foreign_names() and is_known(kind, module):
        return ""
    return f"the class {module}.{kind}" if module else f"the custom class {kind!r}"


def _foreign_value(config: Config) -> str:
    """What is odd about an array: a dtype of text or objects may take any amount of memory."""
    if config["class_name"] not in ("__tensor__", "__numpy__"):
        return ""
    dtype = _setting(config, "dtype")
    is_number = isinstance(dtype, str) and dtype.rstrip("0123456789") in _NUMBERS
    return "" if is_number else f"an array of the dtype {dtype!r}"


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)
