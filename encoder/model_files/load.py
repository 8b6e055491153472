"""Load a trained model from a file of any supported format, without running code from the file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator

import h5py
import keras

from encoder.errors import InputError, shortened
from encoder.model_files.keras2 import Config, modernize, name_operations, operation_objects
from encoder.model_files.safety import check_archive, check_code
from encoder.model_files.weights import load_weights
from encoder.storage.base import join
from encoder.storage.registry import is_remote, normalize, store_for

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
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
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_local_copy(normalize(path)))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if builder is not None:
            model = _build(builder)
            load_weights(model, file)
            return model, _sha256(file)
        source = file
        if os.path.isdir(file) or _is_keras2_archive(file):
            if not trust:
                _check_saved_code(file)
            source = to_keras3(file, folder)
        return _load(source, folder, trust, os.fspath(path)), _sha256(file)


def _load(file: str, folder: str, trust: bool, name: str) -> keras.Model:
    config = _model_config(file)
    if not trust:
        check_code(config, name)
    try:
        rewritten = h5py.is_hdf5(file) and any([modernize(config), name_operations(config)])
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{name!r} does not describe its layers as Keras does: {error!r}"
        ) from error
    if rewritten:
        file = shutil.copy(file, os.path.join(folder, "rewritten.h5"))
        with h5py.File(file, "r+") as archive:
            archive.attrs["model_config"] = json.dumps(config)
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


def _model_config(file: str) -> Config:
    """The model's architecture in the file, read without Keras."""
    with open(file, "rb") as opened:
        start = opened.read(len(_HDF5_SIGNATURE))
    if start == _HDF5_SIGNATURE:
        return _hdf5_config(file)
    if start[:2] == b"PK":
        return _zip_json(file, "config.json")
    raise InputError(
        f"{file!r} is not a model saved by Keras: expected a .keras or .h5 file or a SavedModel "
        f"folder, found a file that starts with {start!r}"
    )


def _zip_json(file: str, name: str) -> Config:
    try:
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, file)
            return _as_object(archive.read(name))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file!r} is not a whole .keras file: {error}") from error


def _is_keras2_archive(file: str) -> bool:
    """Whether a file is a ``.keras`` file of Keras 2."""
    if not zipfile.is_zipfile(file):
        return False
    return str(_zip_json(file, "metadata.json").get("keras_version", "")).startswith("2.")


def _check_saved_code(path: str) -> None:
    """Refuse Lambda layers in a file that only tf-keras can read: loading would run their code."""
    if not os.path.isdir(path):
        check_code(_zip_json(path, "config.json"), path)
        return
    metadata = os.path.join(path, "keras_metadata.pb")
    if not os.path.exists(metadata):
        raise InputError(
            f"{path!r} is a SavedModel without Keras' description of its layers, so there is "
            "nothing to cut at; save the model with model.save('model.keras')"
        )
    with open(metadata, "rb") as opened:
        if b'"class_name": "Lambda"' in opened.read():
            raise InputError(
                f"{path!r} has a Lambda layer, which would run code from the file. If you trust "
                "it, allow it with --trust (trust=True)"
            )


def _hdf5_config(file: str) -> Config:
    try:
        with h5py.File(file, "r") as archive:
            config = archive.attrs.get("model_config")
    except OSError as error:
        raise InputError(f"{file!r} is not a whole .h5 file: {error}") from error
    if config is None:
        raise InputError(
            f"{file!r} holds weights only, no architecture; name the function that builds the "
            "network with --builder MODULE:FUNCTION, or save the whole model with model.save(...)"
        )
    try:
        return _as_object(config)
    except (ValueError, TypeError) as error:
        raise InputError(f"{file!r} has a damaged description of its layers: {error}") from error


def _as_object(text: str | bytes) -> Config:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {type(values).__name__}")
    return values


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


def to_keras3(path: str, folder: str) -> str:
    """Convert a SavedModel folder or a Keras 2 ``.keras`` file to an .h5 file.

    Args:
        path: the model, on this machine.
        folder: where to write the .h5 file.

    Returns:
        The path of the .h5 file.

    Raises:
        InputError: tf-keras is not installed, or can't read the file as a model with layers.
    """
    try:
        import tf_keras
    except ImportError as error:
        raise InputError(
            f"{path!r} was saved by Keras 2, which only tf-keras can read: pip install tf-keras "
            "(or this package with the extra [savedmodel]). It is needed once, not for the bundle"
        ) from error
    target = os.path.join(folder, "converted.h5")
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")  # its warnings matter for training only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .h5 is outdated, but Keras 3 can read it
            model = tf_keras.models.load_model(path, compile=False)
            model.save(target, save_format="h5", include_optimizer=False)
    except Exception as error:  # many types; all mean that it can't be converted
        raise InputError(
            f"tf-keras {tf_keras.__version__} can't take {path!r} as a model with layers: {error}. "
            "If it is a subclassed model, build the same layers as a functional model, load the "
            "weights into it, and save that"
        ) from error
    finally:
        logger.setLevel(level)
    return target
