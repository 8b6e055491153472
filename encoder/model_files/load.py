"""Load a trained model from a file of any supported format, without running code from the file.

What is checked is what is loaded. A file is read once; from the description of the layers that was
checked, and from the weights, a new file is written, and Keras loads that.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

import keras

from encoder.errors import InputError, shortened
from encoder.model_files import archive, hdf5, saved_model
from encoder.model_files.keras2 import modernize, name_operations, operation_objects
from encoder.model_files.keras2_layers import Config, modernize_layers
from encoder.model_files.keras3 import modernize_keras3
from encoder.model_files.safety import check_code, drop_training, parse_config
from encoder.model_files.weights import load_weights
from encoder.storage.base import join
from encoder.storage.registry import is_remote, normalize, store_for

_SAVED_MODEL = "saved_model.pb"


def load_model(
    path: str | os.PathLike[str], *, trust: bool = False, builder: str | None = None
) -> tuple[keras.Model, str]:
    """Load a trained model.

    Args:
        path: local or gs://: a ``.keras`` or ``.h5`` file of Keras 2 or 3, a SavedModel folder of
            Keras 2 (if tf-keras is installed), or, with a builder, a weights file.
        trust: allow Lambda layers and custom classes, whose code then runs.
        builder: "module:function", which returns the untrained network; the file's weights are
            loaded into it, and must be exactly the network's weights.

    Returns:
        The model, not compiled, and the SHA-256 of the file in hex.

    Raises:
        InputError: there is no such file, it is not a whole model, it contains code, or its weights
            do not fit the builder's network.
    """
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_local_copy(normalize(path)))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if builder is not None:
            model = _build(builder)
            load_weights(model, _weights(file, folder, name))
        elif trust:
            model = _load_trusted(file, folder, name)
        else:
            model = _load_checked(file, folder, name)
        return model, _sha256(file)


def _load_checked(file: str, folder: str, name: str) -> keras.Model:
    """Load a model whose file may be hostile."""
    if os.path.isdir(file):
        text = saved_model.read_saved_model(file, name)
        described = parse_config(text, name)
        config = _checked({key: described.get(key) for key in ("class_name", "config")}, name)
        return _load_converted(file, config, folder, name)
    if not _is_archive(file, name):
        return _load_hdf5(file, folder, name, trust=False)
    description = archive.read_description(file, name)
    config = _checked(parse_config(description.config, name), name)
    clean = os.path.join(folder, "clean")
    os.mkdir(clean)
    weights = archive.extract_weights(file, clean, name)
    hdf5.check_hdf5(weights, name, os.path.getsize(file))
    if description.is_keras2:
        hdf5.widen_bfloat16(weights)
        packed = os.path.join(folder, "clean.keras")
        archive.pack(json.dumps(config), weights, packed)
        return _load_converted(packed, None, folder, name)
    modernize_keras3(config, description.version)
    with open(os.path.join(clean, archive.CONFIG), "w", encoding="utf-8") as opened:
        json.dump(config, opened)
    return _load_by_keras(clean, name, trust=False)


def _load_converted(source: str, config: Config | None, folder: str, name: str) -> keras.Model:
    """Load what only tf-keras reads; what comes back from it is checked as any other file."""
    converted = os.path.join(folder, "converted", "model.h5")
    os.mkdir(os.path.dirname(converted))
    saved_model.convert(source, config, converted, name)
    return _load_hdf5(converted, folder, name, trust=False)


def _load_trusted(file: str, folder: str, name: str) -> keras.Model:
    """Load a model whose code may run, just as Keras loads it."""
    converted = os.path.join(folder, "converted.h5")
    if os.path.isdir(file):
        saved_model.convert_trusted(file, converted, name)
    elif not _is_archive(file, name):
        return _load_hdf5(file, folder, name, trust=True)
    elif (description := archive.read_description(file, name)).is_keras2:
        saved_model.convert_trusted(file, converted, name)
    else:
        config = parse_config(description.config, name)
        if modernize_keras3(config, description.version):
            file = archive.with_config(file, json.dumps(config), folder)
        return _load_by_keras(file, name, trust=True)
    return _load_hdf5(converted, folder, name, trust=True)


def _load_hdf5(file: str, folder: str, name: str, *, trust: bool) -> keras.Model:
    text = hdf5.read_config(file, name)
    if text is None:
        raise InputError(
            f"{name!r} holds weights only, no architecture; name the function that builds the "
            "network with --builder MODULE:FUNCTION, or save the whole model with model.save(...)"
        )
    config = parse_config(text, name)
    if not trust:
        hdf5.check_hdf5(file, name, os.path.getsize(file))
        config = _checked(config, name)
    try:
        if hdf5.is_keras2(file):
            modernize_layers(config)
        else:
            modernize_keras3(config, hdf5.keras_version(file))
        modernize(config)
        name_operations(config)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name!r} does not describe its layers as Keras does: {error!r}"
        ) from error
    clean = os.path.join(folder, "clean.h5")
    hdf5.write_model(file, json.dumps(config), clean, name)
    if hdf5.is_keras2(file):
        hdf5.widen_bfloat16(clean)
    return _load_by_keras(clean, name, trust=trust)


def _load_by_keras(file: str, name: str, *, trust: bool) -> keras.Model:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about arguments from older versions
            return keras.saving.load_model(
                file, operation_objects(), compile=False, safe_mode=not trust
            )
    except Exception as error:  # Keras raises many types; all mean that the file can't be used
        raise InputError(
            f"Keras {keras.__version__} can't load {name!r}: {shortened(error)}"
        ) from error


def _checked(config: Config, name: str) -> Config:
    """The config without what the model was compiled with, if it needs no code."""
    drop_training(config)
    check_code(config, name)
    return config


def _weights(file: str, folder: str, name: str) -> str:
    """The file itself, or the extracted weights of a .keras file."""
    with open(file, "rb") as opened:
        is_archive = opened.read(2) == b"PK"
    return archive.extract_weights(file, folder, name) if is_archive else file


def _is_archive(file: str, name: str) -> bool:
    """Whether it is a .keras file; else it is an .h5 file."""
    with open(file, "rb") as opened:
        start = opened.read(len(hdf5.SIGNATURE))
    if start != hdf5.SIGNATURE and start[:2] != b"PK":
        raise InputError(
            f"{name!r} is not a model saved by Keras: expected a .keras or .h5 file or a "
            f"SavedModel folder, found a file that starts with {start!r}"
        )
    return start != hdf5.SIGNATURE


def _build(builder: str) -> keras.Model:
    module, _, function = builder.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # python -m does this, the installed command does not
    try:
        model = getattr(importlib.import_module(module), function)()
    except Exception as error:  # the user's code may raise any type
        raise InputError(
            f"--builder {builder!r} can't be called: {shortened(error)}. Expected MODULE:FUNCTION, "
            "a function without arguments that gives the untrained keras.Model"
        ) from error
    if not isinstance(model, keras.Model):
        raise InputError(f"--builder {builder!r} gives {type(model).__name__}, not a keras.Model")
    return model


@contextlib.contextmanager
def _local_copy(path: str) -> Iterator[str]:
    """The path of the file, or SavedModel folder, on this machine; remote files are copied."""
    store = store_for(path)
    is_saved_model = store.stat(join(path, _SAVED_MODEL)) is not None
    if not is_saved_model and store.stat(path) is None:
        kind = "is a folder" if store.is_folder(path) else "does not exist"
        raise InputError(
            f"model file {path!r} {kind}; expected a .keras or .h5 file or a SavedModel folder"
        )
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, path.rpartition("/")[2])
        wanted = [info.path for info in store.list_files(path)] if is_saved_model else [path]
        for each in wanted:
            target = copy + each.removeprefix(path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as opened:
                opened.write(store.read(each)[0])
        yield copy


def _sha256(path: str) -> str:
    """The hash of a file's content, or of the names and contents of a folder's files, in hex."""
    if os.path.isdir(path):
        digest = hashlib.sha256()
        for info in sorted(store_for(path).list_files(path)):
            digest.update(f"{info.path.removeprefix(path)}\0{_sha256(info.path)}\n".encode())
        return digest.hexdigest()
    digest = hashlib.sha256()
    with open(path, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
