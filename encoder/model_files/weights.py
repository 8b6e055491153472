"""Load weights files into a network, and check that the network holds exactly these weights."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from encoder.errors import InputError, shortened
from encoder.model_files.checkpoint import load_checkpoint
from encoder.model_files.configs.safety import parse_config
from encoder.model_files.hdf5 import check_hdf5
from encoder.model_files.kinds import is_checkpoint

if TYPE_CHECKING:
    import keras

# Groups of a weights file that do not belong to the network.
_NOT_WEIGHTS = ("optimizer", "seed_generator", "metrics", "compile_metrics", "_loss")


def load_weights(model: keras.Model, file: str) -> None:
    """Load the weights in a ``.weights.h5`` of Keras 3 or an .h5 (weights or model) of Keras 2.

    Or those of a TensorFlow checkpoint, by the path of its .index file.

    Raises:
        InputError: the file does not fit the network, or the weights in the file and in the network
            differ after loading.
    """
    if not model.built:
        raise InputError(
            "the builder gives a model that is not built yet; give its first layer an Input"
        )
    if is_checkpoint(file):
        load_checkpoint(model, file)
        return
    for each in _files(file):
        check_hdf5(each, file, os.path.getsize(each))
    try:
        model.load_weights(file)
    except Exception as error:  # Keras raises many types; all mean that the weights don't fit
        raise InputError(
            f"the weights in {file!r} do not fit the network: {shortened(error)}"
        ) from error
    stored = Counter(_content(values) for values in _stored(file))
    placed = Counter(_content(weight.numpy()) for weight in model.weights)
    unplaced, unset = stored - placed, placed - stored
    if unplaced or unset:
        raise InputError(
            f"{unplaced.total()} weights in {file!r} found no place in the network, and "
            f"{unset.total()} weights of the network are not in the file; the builder must make "
            "the very network that was trained"
        )


def _stored(file: str) -> Iterator[NDArray[np.generic]]:
    """The network's weights in a file, or in all shards of a ``.weights.json``."""
    for each in _files(file):
        with h5py.File(each, "r") as archive:
            root = archive.get("model_weights", archive)
            found: list[NDArray[np.generic]] = []

            def collect(
                name: str,
                item: h5py.Dataset | h5py.Group,
                found: list[NDArray[np.generic]] = found,
            ) -> None:
                if isinstance(item, h5py.Dataset) and not set(name.split("/")) & {*_NOT_WEIGHTS}:
                    found.append(item[()])

            root.visititems(collect)
            yield from found


def _files(file: str) -> list[str]:
    """The HDF5 files that hold the weights: the file itself, or the shards beside an index."""
    if not file.endswith(".weights.json"):
        return [file]
    with open(file, "rb") as opened:
        index = parse_config(opened.read(), file)
    try:
        shards = index["weight_map"].values()
        names = {name for shard in shards for name in _listed(shard)}
        outside = sorted(name for name in names if name != os.path.basename(name))
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{file!r} is no index of shards of weights: {error!r}") from error
    if outside:
        raise InputError(f"{file!r} names shards in another folder: {', '.join(outside)}")
    paths = sorted(os.path.join(os.path.dirname(file), name) for name in names)
    missing = [os.path.basename(path) for path in paths if not os.path.isfile(path)]
    if missing:
        raise InputError(f"{file!r} names shards that are not there: {', '.join(missing)}")
    return paths


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _content(values: NDArray[np.generic]) -> tuple[tuple[int, ...], str]:
    """An array's shape and the SHA-256 of its bytes."""
    array = np.ascontiguousarray(values)
    return array.shape, hashlib.sha256(array.tobytes()).hexdigest()
