"""Convert what only tf-keras reads, SavedModel folders and .keras files of Keras 2, to .h5 files.

The network of a SavedModel is made from its description alone, which was checked before, and takes
the numbers of its variables. The TensorFlow graph in the folder is never loaded: its functions may
read and write files.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Collection

from encoder.errors import InputError, shortened
from encoder.isolation import restricted_environment
from encoder.model_files import converter
from encoder.model_files.configs.keras2_layers import Config
from encoder.model_files.converter import Request
from encoder.model_files.kinds import SAVED_MODEL

_DESCRIPTION = "keras_metadata.pb"
_KERAS_OBJECT = "_tf_keras_"


def read_saved_model(path: str, name: str) -> str:
    """The text in which Keras 2 describes the model in a SavedModel folder.

    Raises:
        InputError: there is none, or it is damaged, or tf-keras is not installed.
    """
    description = os.path.join(path, _DESCRIPTION)
    has_own = os.path.exists(description)
    if has_own:
        _tf_keras_version(name)
    else:
        description = os.path.join(path, SAVED_MODEL)
    from google.protobuf.message import DecodeError

    try:
        with open(description, "rb") as opened:
            roots = _descriptions(opened.read()) if has_own else _in_graph(opened.read())
    except DecodeError as error:
        raise InputError(f"{description!r} is damaged: {error}") from error
    if not roots and has_own:
        raise InputError(f"{description!r} does not describe a model; save the model again")
    if not roots:
        raise InputError(
            f"{name!r} is a SavedModel without Keras' description of its layers (an export for "
            "serving, or a module of TF-Hub or Kaggle), so there is nothing to cut at; save the "
            "trained network with model.save('model.keras'), or, if you have the function that "
            "builds it, name that with --builder MODULE:FUNCTION"
        )
    _tf_keras_version(name)
    return roots[-1]


def _descriptions(data: bytes) -> list[str]:
    """The descriptions of the outermost model in the content of keras_metadata.pb."""
    from tf_keras.protobuf import saved_metadata_pb2

    found = saved_metadata_pb2.SavedMetadata()
    found.ParseFromString(data)
    return [str(node.metadata) for node in found.nodes if node.node_id == 0]


def _in_graph(data: bytes) -> list[str]:
    """The same from saved_model.pb, which Keras before 2.5 wrote it into; nothing else is read."""
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel()
    found.ParseFromString(data)
    roots = [graph.object_graph_def.nodes[:1] for graph in found.meta_graphs[:1]]
    objects = [node.user_object for nodes in roots for node in nodes]
    return [
        str(each.metadata)
        for each in objects
        if each.identifier.startswith(_KERAS_OBJECT) and each.metadata
    ]


def convert(
    source: str, config: Config | None, target: str, name: str, stand_ins: Collection[str] = ()
) -> None:
    """Write a checked model as an .h5 file, in a process of its own (see ``converter``).

    Args:
        source: a SavedModel folder, or, without a config, a .keras file of Keras 2.
        config: the network to make, which takes the folder's variables.
        target: the .h5 file, alone in its folder.
        name: the model file's path, for messages.
        stand_ins: names of the classes of stand-ins, see encoder.stand_ins.

    Raises:
        InputError: tf-keras is not installed, can't make the network, or the variables do not fit.
    """
    version = _tf_keras_version(name)
    request: Request = {
        "config": None if config is None else json.dumps(config),
        "stand_ins": list(stand_ins),
        "source": source if config is None else os.path.join(source, "variables", "variables"),
        "target": target,
    }
    result = subprocess.run(
        [sys.executable, "-m", converter.__name__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env={
            **restricted_environment(),
            "TF_CPP_MIN_LOG_LEVEL": "3",  # its messages matter for training only
            "CUDA_VISIBLE_DEVICES": "-1",
            "TMPDIR": os.path.dirname(target),  # it can't write elsewhere
        },
    )
    if result.returncode != 0:
        reason = converter.error_in(result.stderr) or f"it ended with {result.returncode}"
        raise _not_converted(version, name, reason)


def convert_trusted(path: str, target: str, name: str) -> None:
    """Write the model in a file or folder as an .h5 file, in this process, where its classes are.

    This may run code in the model.

    Raises:
        InputError: tf-keras is not installed, or can't read it as a model with layers.
    """
    version = _tf_keras_version(name)
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")  # its warnings matter for training only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter.convert({"config": None, "stand_ins": [], "source": path, "target": target})
    except Exception as error:  # many types; all mean that it can't be converted
        raise _not_converted(version, name, shortened(error)) from error
    finally:
        logger.setLevel(level)


def _tf_keras_version(name: str) -> str:
    """The version of tf-keras, which is not imported here: it would share names with Keras 3."""
    if importlib.util.find_spec("tf_keras") is None:
        raise InputError(
            f"{name!r} was saved by Keras 2, which only tf-keras can read: pip install tf-keras "
            "(or this package with the extra [savedmodel]). It is needed once, not for the bundle"
        )
    return importlib.metadata.version("tf-keras")


def _not_converted(version: str, name: str, reason: str) -> InputError:
    return InputError(
        f"tf-keras {version} can't take {name!r} as a model with layers: {reason[:300]}. If it is "
        "a subclassed model, build the same layers as a functional model, load the weights into "
        "it, and save that"
    )
