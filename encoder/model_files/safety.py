"""Find what a model file would run or blow up, before anything of it is loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import keras

from encoder.errors import InputError
from encoder.model_files.keras2 import OPERATION_CLASSES, operation_classes

_MODELS = ("Functional", "Model", "Sequential")
_OWN_PACKAGE = "encoder>"
# A .keras file stores weights as they are; text shrinks to a tenth at most.
_LARGEST_EXPANSION = 50
_HARMLESS_BYTES = 64 << 20


def check_code(config: Any, path: str) -> None:
    """Refuse a model config with Lambda layers, custom classes or custom functions.

    Raises:
        InputError: naming the layers, and how to allow them.
    """
    if isinstance(config, dict) and config.get("class_name") not in _MODELS:
        raise InputError(
            f"{path!r} holds a model of the class {config.get('class_name')!r}, a subclass of "
            "keras.Model, which has no graph of layers to cut in. Build the same layers as a "
            "functional or Sequential model, load the weights into it "
            "(new.set_weights(old.get_weights())), and save that"
        )
    found = list(dict.fromkeys(_foreign(config, "the model")))
    if found:
        raise InputError(
            f"{path!r} needs code that is not part of Keras: {'; '.join(found)}. If you trust the "
            "file, allow it with --trust (trust=True), with the modules of custom classes where "
            "Python finds them; or replace these layers by layers of Keras"
        )


def check_archive(archive: zipfile.ZipFile, path: str) -> None:
    """Refuse an archive that expands out of all proportion (a zip bomb)."""
    for member in archive.infolist():
        largest = max(_HARMLESS_BYTES, _LARGEST_EXPANSION * member.compress_size)
        if member.file_size > largest:
            raise InputError(
                f"{path!r} is no model file: {member.filename!r} in it expands from "
                f"{member.compress_size:,} to {member.file_size:,} bytes"
            )


def _foreign(config: Any, layer: str) -> Iterator[str]:
    if isinstance(config, list):
        for inner in config:
            yield from _foreign(inner, layer)
    if not isinstance(config, dict):
        return
    inner_config = config.get("config")
    if "class_name" in config:
        inner_name = inner_config.get("name") if isinstance(inner_config, dict) else None
        layer = str(inner_name or config.get("name") or layer)
        kind = _foreign_kind(config)
        if kind:
            yield f"layer {layer!r} has {kind}"
            return
    for key, inner in config.items():
        if key != "compile_config":  # losses and metrics: never loaded
            yield from _foreign(inner, layer)


def _foreign_kind(config: dict[str, Any]) -> str:
    kind, module = str(config["class_name"]), config.get("module")
    registered = str(config.get("registered_name") or "")
    if kind == "Lambda":
        return "a Lambda"
    if kind in ("function", "__lambda__"):
        return f"the function {config.get('config')!r}"
    if _OWN_PACKAGE in kind + registered:
        return ""
    if ">" in kind + registered:
        return f"the custom class {registered or kind!r}"
    if module is not None:
        known_package = str(module).partition(".")[0] in ("keras", "tf_keras")
        return "" if known_package else f"the class {module}.{kind}"
    # A bare name, as .h5 files and Keras 2 have them, is a layer, an operation, or nothing of ours
    # (a slice, an initializer); a "layer" has a name of its own.
    is_layer = "name" in (config.get("config") or {}) and "inbound_nodes" in config
    known = (*_MODELS, *OPERATION_CLASSES, *dir(keras.layers), *operation_classes())
    return f"the custom class {kind!r}" if is_layer and kind not in known else ""
