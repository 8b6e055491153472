"""Targets: the configs of models, as .keras and .h5 files hold them."""

import contextlib
import functools
import io
import json
import zipfile

import h5py
import keras

from encoder.errors import InputError
from encoder.model_files.configs.keras2 import modernize, name_operations
from encoder.model_files.load import load_model
from tests.conftest import small_network
from tests.fuzz.target import Target, content, file_with

WORDS = (
    *(b'"class_name": "Lambda"', b'"class_name": "Dense"', b'"module": "os"', b'"config": {}'),
    *(b'"registered_name": "encoder>x"', b'"layers": []', b"null", b"[]", b"{}", b"1", b'"a"'),
    *(b'"inbound_nodes": []', b'"axis": [1, 2]', b"[" * 3000, b'{"class_name":"__ellipsis__"}'),
)
# What modernize and name_operations document, for a damaged config.
DAMAGED = (KeyError, TypeError, AttributeError, ValueError)


def check_rewriting(data):
    with contextlib.suppress(ValueError, RecursionError):  # of the JSON itself
        config = json.loads(data)
        with contextlib.suppress(*DAMAGED):
            modernize(config)
            json.dumps(config)  # as it is written into the .h5 file
        with contextlib.suppress(*DAMAGED):
            name_operations(config)


def check_keras(data):
    whole = io.BytesIO(keras_file())
    changed = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name == "config.json" else old.read(name))
    with file_with(changed.getvalue(), "model.keras") as path:
        load(path)


def check_h5(data):
    with file_with(h5_file(), "model.h5") as path:
        with h5py.File(path, "r+") as file:
            try:
                file.attrs["model_config"] = data.decode("utf-8", "replace")
            except (ValueError, OSError):  # HDF5 can't store null bytes or 64 KiB of text
                return
        load(path)


def load(path):
    """Load a model; what was loaded may hold no code that is not part of Keras or ours."""
    for hide in (False, True):
        with contextlib.suppress(InputError):
            model, _ = load_model(str(path), hide=hide)
            for layer in model._flatten_layers():
                assert type(layer).__module__.startswith(("keras.", "encoder.")), layer
                assert not isinstance(layer, keras.layers.Lambda)


@functools.cache
def keras_file():
    return content(small_network().save, "small.keras")


@functools.cache
def h5_file():
    return content(small_network().save, "small.h5")


@functools.cache
def configs():
    with zipfile.ZipFile(io.BytesIO(keras_file())) as archive:
        return [archive.read("config.json")]


@functools.cache
def h5_configs():
    with h5py.File(io.BytesIO(h5_file())) as file:
        return [file.attrs["model_config"].encode()]


def keras2_configs():
    """A model of Keras 2 with an operation, as tf-keras writes it."""
    tensor = ["image", 0, 0, {"y": 255.0, "name": None}]
    operation = {
        "class_name": "TFOpLambda",
        "name": "tf.math.truediv",
        "config": {"name": "tf.math.truediv", "trainable": True, "function": "math.truediv"},
        "inbound_nodes": [tensor],
    }
    image = {
        "class_name": "InputLayer",
        "name": "image",
        "config": {"batch_input_shape": [None, 8, 8, 3], "dtype": "float32", "name": "image"},
        "inbound_nodes": [],
    }
    config = {
        "name": "model",
        "layers": [image, operation],
        "input_layers": [["image", 0, 0]],
        "output_layers": [["tf.math.truediv", 0, 0]],
    }
    return [json.dumps({"class_name": "Functional", "config": config}).encode(), *h5_configs()]


TARGETS = (
    Target("keras2 rewriting", check_rewriting, keras2_configs, WORDS),
    Target("keras file", check_keras, configs, WORDS),
    Target("h5 file", check_h5, keras2_configs, WORDS),
)
