"""Weights files: put into a network that a builder made, with proof that each found its place."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from encoder.errors import InputError, shortened

# Groups of a weights file that are not the network's.
_NOT_WEIGHTS = ("optimizer", "seed_generator", "metrics", "compile_metrics", "_loss")


def load_weights(model: Any, file: str) -> None:
    """Load a ``.weights.h5`` of Keras 3, or an .h5 (weights or whole model) of Keras 2.

    Raises:
        InputError: the file does not fit the network, or some weights did not find a place.
    """
    if not model.built:
        raise InputError(
            "the builder gives a model that is not built yet; give its first layer an Input"
        )
    if file.endswith(".weights.json"):
        _check_shards(file)
    try:
        model.load_weights(file)
    except Exception as error:  # Keras raises all kinds; each means that they don't fit
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


def _stored(file: str) -> Iterator[np.ndarray[Any, Any]]:
    files = [file]
    if file.endswith(".weights.json"):
        files = sorted(glob.glob(glob.escape(file.removesuffix(".weights.json")) + "_*.weights.h5"))
    for each in files:
        source: Any = each
        if zipfile.is_zipfile(each):
            with zipfile.ZipFile(each) as whole:
                source = io.BytesIO(whole.read("model.weights.h5"))
        with h5py.File(source, "r") as archive:
            root = archive.get("model_weights", archive)
            found: list[np.ndarray[Any, Any]] = []

            def collect(name: str, item: Any, found: list[np.ndarray[Any, Any]] = found) -> None:
                if isinstance(item, h5py.Dataset) and not set(name.split("/")) & {*_NOT_WEIGHTS}:
                    found.append(item[()])

            root.visititems(collect)
            yield from found


def _check_shards(file: str) -> None:
    import json

    with open(file, "rb") as opened:
        index = json.load(opened)
    names = {name for shards in index.get("weight_map", {}).values() for name in _listed(shards)}
    missing = sorted(n for n in names if not os.path.exists(os.path.join(os.path.dirname(file), n)))
    if missing:
        raise InputError(f"{file!r} names shards that are not there: {', '.join(missing)}")


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _content(values: Any) -> tuple[tuple[int, ...], str]:
    array = np.ascontiguousarray(values)
    return array.shape, hashlib.sha256(array.tobytes()).hexdigest()
