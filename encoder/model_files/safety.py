"""Check a model file for code that it would run, and for zip bombs, before loading it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

import keras

from encoder.errors import InputError
from encoder.model_files.keras2 import OPERATION_CLASSES, Config, operation_classes

_MODELS = ("Functional", "Model", "Sequential")
_OWN_PACKAGE = "encoder>"
# A .keras file holds weights uncompressed; compressed text keeps at least a tenth of its size.
_LARGEST_EXPANSION = 50
_HARMLESS_BYTES = 64 << 20


def check_code(config: Config, path: str) -> None:
    """Refuse a model config with Lambda layers, custom classes or custom functions.

    Args:
        config: the model's config.
        path: the model file's path, for the message.

    Raises:
        InputError: there are any; the message names the layers, and how to allow them.
    """
    if config.get("class_name") not in _MODELS:
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
    """Refuse a zip bomb: an archive with a file that expands more than a model's files do.

    Raises:
        InputError: there is such a file.
    """
    for member in archive.infolist():
        largest = max(_HARMLESS_BYTES, _LARGEST_EXPANSION * member.compress_size)
        if member.file_size > largest:
            raise InputError(
                f"{path!r} is no model file: {member.filename!r} in it expands from "
                f"{member.compress_size:,} to {member.file_size:,} bytes"
            )


def _foreign(config: object, layer: str) -> Iterator[str]:
    """Descriptions of everything in a config that is not part of Keras or of this package."""
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
        if key != "compile_config":  # losses and metrics, which are not loaded
            yield from _foreign(inner, layer)


def _foreign_kind(config: Config) -> str:
    """What an object that is not part of Keras or of this package is; "" for known objects."""
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
    # .h5 files and Keras 2 write class names without a module: of layers, of operations, and of
    # objects that need no check (slices, initializers). Only layers have a name of their own.
    is_layer = "name" in (config.get("config") or {}) and "inbound_nodes" in config
    known = (*_MODELS, *OPERATION_CLASSES, *dir(keras.layers), *operation_classes())
    return f"the custom class {kind!r}" if is_layer and kind not in known else ""
