"""Read a trained model from a file, without running code that the file brings along."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

from encoder.errors import InputError
from encoder.storage import is_remote, normalize, store_for

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def load_model(path: str | os.PathLike[str]) -> tuple[Any, str]:
    """Load a model that Keras saved whole, as ``.keras`` or ``.h5``.

    Args:
        path: a local path or gs://.

    Returns:
        The keras.Model, not compiled, and the sha256 of the file in hex.

    Raises:
        InputError: there is no such file, or it is not a whole model, or it carries code.
    """
    import keras

    with _local_copy(normalize(path)) as file:
        config = _model_config(file)
        for name in _lambda_layers(config):
            raise InputError(
                f"{os.fspath(path)!r} has a Lambda layer {name!r}, which would run code from the "
                "file. Replace it by a layer of Keras and save the model again"
            )
        try:
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises all kinds; each means the file can't be used
            raise InputError(
                f"Keras {keras.__version__} can't load {os.fspath(path)!r}: {error}"
            ) from error
        return model, _sha256(file)


def _model_config(file: str) -> Any:
    """The model's architecture as the file states it, read without Keras."""
    with open(file, "rb") as opened:
        start = opened.read(len(_HDF5_SIGNATURE))
    if start == _HDF5_SIGNATURE:
        return _hdf5_config(file)
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(file) as archive:
                return json.loads(archive.read("config.json"))
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise InputError(f"{file!r} is not a whole .keras file: {error}") from error
    raise InputError(
        f"{file!r} is not a model saved by Keras: expected a .keras or .h5 file, found one that "
        f"starts with {start!r}"
    )


def _hdf5_config(file: str) -> Any:
    import h5py

    try:
        with h5py.File(file, "r") as archive:
            config = archive.attrs.get("model_config")
    except OSError as error:
        raise InputError(f"{file!r} is not a whole .h5 file: {error}") from error
    if config is None:
        raise InputError(
            f"{file!r} holds weights only, no architecture; save the whole model with "
            "model.save(...)"
        )
    return json.loads(config)


def _lambda_layers(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            yield str((config.get("config") or {}).get("name"))
        config = list(config.values())
    if isinstance(config, list):
        for inner in config:
            yield from _lambda_layers(inner)


@contextlib.contextmanager
def _local_copy(path: str) -> Iterator[str]:
    store = store_for(path)
    if store.stat(path) is None:
        kind = "is a folder" if store.is_folder(path) else "does not exist"
        raise InputError(f"model file {path!r} {kind}; expected a .keras or .h5 file")
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, path.rpartition("/")[2])
        with open(file, "wb") as opened:
            opened.write(store.read(path)[0])
        yield file


def _sha256(file: str) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
