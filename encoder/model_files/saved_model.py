"""Convert what only tf-keras reads, SavedModel folders and .keras files of Keras 2, to .h5 files.

The network of a SavedModel is made from its description alone, which was checked before, and takes
the numbers of its variables. The TensorFlow graph in the folder is never loaded: its functions may
read and write files.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from encoder.errors import InputError, shortened
from encoder.model_files.keras2 import Config

if TYPE_CHECKING:
    from types import ModuleType

_DESCRIPTION = "keras_metadata.pb"


def read_saved_model(path: str, name: str) -> str:
    """The text in which Keras 2 describes the model in a SavedModel folder.

    Raises:
        InputError: there is none, or it is damaged, or tf-keras is not installed.
    """
    description = os.path.join(path, _DESCRIPTION)
    if not os.path.exists(description):
        raise InputError(
            f"{name!r} is a SavedModel without Keras' description of its layers, so there is "
            "nothing to cut at; save the model with model.save('model.keras')"
        )
    _tf_keras(name)
    from google.protobuf.message import DecodeError
    from tf_keras.protobuf import saved_metadata_pb2

    found = saved_metadata_pb2.SavedMetadata()
    try:
        with open(description, "rb") as opened:
            found.ParseFromString(opened.read())
    except DecodeError as error:
        raise InputError(f"{description!r} is damaged: {error}") from error
    roots = [node.metadata for node in found.nodes if node.node_id == 0]
    if not roots:
        raise InputError(f"{description!r} does not describe a model; save the model again")
    return str(roots[-1])


def convert_saved_model(path: str, config: Config, target: str, name: str) -> None:
    """Write the network of a config, with the variables of a SavedModel folder, as an .h5 file.

    Raises:
        InputError: tf-keras can't make the network, or the variables do not fit.
    """
    tf_keras = _tf_keras(name)
    with _quiet(tf_keras, name):
        model = tf_keras.models.model_from_json(json.dumps(config))
        status = model.load_weights(os.path.join(path, "variables", "variables"))
        status.assert_existing_objects_matched()
        status.expect_partial()  # without a warning: the state of the optimizer stays behind
        model.save(target, save_format="h5", include_optimizer=False)


def convert_file(path: str, target: str, name: str) -> None:
    """Write the model in a file or folder as an .h5 file, just as tf-keras reads it.

    For folders this runs code in them: the caller has to trust them.

    Raises:
        InputError: tf-keras is not installed, or can't read it as a model with layers.
    """
    tf_keras = _tf_keras(name)
    with _quiet(tf_keras, name):
        model = tf_keras.models.load_model(path, compile=False)
        model.save(target, save_format="h5", include_optimizer=False)


def _tf_keras(name: str) -> ModuleType:
    try:
        return importlib.import_module("tf_keras")
    except ImportError as error:
        raise InputError(
            f"{name!r} was saved by Keras 2, which only tf-keras can read: pip install tf-keras "
            "(or this package with the extra [savedmodel]). It is needed once, not for the bundle"
        ) from error


@contextlib.contextmanager
def _quiet(tf_keras: ModuleType, name: str) -> Iterator[None]:
    """While tf-keras converts: no warnings that matter for training only, and clear errors."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .h5 is outdated, but Keras 3 can read it
            yield
    except Exception as error:  # many types; all mean that it can't be converted
        raise InputError(
            f"tf-keras {tf_keras.__version__} can't take {name!r} as a model with layers: "
            f"{shortened(error)}. If it is a subclassed model, build the same layers as a "
            "functional model, load the weights into it, and save that"
        ) from error
    finally:
        logger.setLevel(level)
