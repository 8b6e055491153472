"""Model files with a payload that leaves a file behind (the canary) if it runs."""

import json
import shutil
import zipfile

import h5py
import keras

from tests.conftest import small_network


def payload(canary):
    """A function whose code is stored in the model file."""
    source = f"lambda x: (open({str(canary)!r}, 'w').close(), x)[1]"
    return eval(source)


def lambda_layer(canary):
    layer = keras.layers.Lambda(payload(canary), name="odd")
    return keras.saving.serialize_keras_object(layer)


def chain(odd):
    """The config of a model: an input, then a layer with the config "odd", then a pooling."""
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.MaxPooling2D(name="pool")])
    config = keras.saving.serialize_keras_object(network)
    config["config"]["layers"].insert(1, odd)
    return config


def layer(name, module="keras.layers", registered=None, **settings):
    return {
        "module": module,
        "class_name": name,
        "registered_name": registered,
        "config": {"name": "odd", **settings},
    }


def dense(**settings):
    return layer("Dense", units=3, **settings)


def keras_file(path, config, *, source=None, extra=()):
    """Write a .keras file with a config (an object or its text) and somebody's weights."""
    if source is None:
        source = path.with_name("weights.keras")
        small_network().save(source)
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(path, "w") as target:
        target.writestr("metadata.json", whole.read("metadata.json"))
        target.writestr("config.json", text)
        target.writestr("model.weights.h5", whole.read("model.weights.h5"))
        for name, data in extra:
            target.writestr(name, data)
    return path


def hdf5_file(path, config):
    """Write an .h5 file with a config (an object or its text) and somebody's weights."""
    small_network().save(path)
    with h5py.File(path, "r+") as archive:
        archive.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
    return path


def legacy(config):
    """A config as Keras 2 and .h5 files write it: class names without modules."""
    if isinstance(config, list):
        return [legacy(inner) for inner in config]
    if not isinstance(config, dict):
        return config
    kept = {key: legacy(value) for key, value in config.items()}
    if "class_name" in kept:
        kept.pop("module", None)
        kept.pop("registered_name", None)
    return kept


def copy_with(source, target, change):
    """Copy an HDF5 file, and change the copy."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as archive:
        change(archive)
    return target
