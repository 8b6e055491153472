"""Recognise files and folders that are no Keras model, and say what to do with them.

Only a file's first and last bytes are read, and of a zip archive the list of its members. Nothing
is unpacked, and no pickle is loaded: it may run code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from encoder.errors import InputError
from encoder.model_files import archive, hdf5
from encoder.storage.base import Store, join

MODEL_ENDINGS = (".keras", ".h5", ".hdf5", ".hdf")
SAVED_MODEL = "saved_model.pb"
INDEX_ENDING = ".index"
_EXPECTED = "expected a .keras or .h5 file or a SavedModel folder"
_HEAD_BYTES = 1024
_TABLE_END = bytes.fromhex("57fb808b247547db")  # of a LevelDB table, which an .index file is
_MOST_LISTED = 8
_MOST_LOOKED_AT = 2000  # files of a folder

# What to do next.
_SAVE = "save the trained Keras network with model.save('model.keras') and name that file"
_REBUILD = (
    "only networks of Keras can be cut: build the same network in Keras, copy the weights into it, "
    "and save it with model.save('model.keras')"
)
_ORIGIN = f"its layers are gone; go back to the Keras network that it was made from: {_SAVE}"
_BUILDER = "name the function that builds the network with --builder MODULE:FUNCTION"
_WITH_WEIGHTS = (
    "add its weights: make the network of it with keras.models.model_from_json, call "
    f"load_weights, and {_SAVE}; or {_BUILDER}, and as MODEL the file of its weights"
)
_LOAD_SCRIPT = f"load it in your own script as you did before, and {_SAVE}"
_AGAIN = "download or copy it again, and compare its size with that of the original"
_UNPACK = "unpack it, and name the .keras or .h5 file or the SavedModel folder in it"
_NAME_FOLDER = "name its folder instead"


class _Kind(NamedTuple):
    """A kind of file.

    Attributes:
        what: what the file is.
        advice: what to do next.
        signature: matches its first bytes; None if they tell nothing.
        name: matches the end of its name, in lower case, where the content is not enough.
    """

    what: str
    advice: str
    signature: str | None = None
    name: str | None = None


# Protocol buffers have no signature: these are the first fields that their writers fill, with the
# texts in them. In the order in which they are tried.
_BY_CONTENT = (
    _Kind(
        "a Git LFS pointer, not the file itself",
        "fetch it with 'git lfs pull'",
        r"version https://git-lfs",
    ),
    _Kind(
        "an HTML page, such as a failed download leaves",
        _AGAIN,
        r"\s*<(?:!--.*?-->\s*<)?(?:!doctype\s+html|html|head)\b",
    ),
    _Kind("a network of OpenVINO", _ORIGIN, r"\s*<(?:\?xml[^>]*>\s*<)?net name="),
    _Kind("XML, such as the error of a failed download", _AGAIN, r"\s*<(?:\?xml|error|message)\b"),
    _Kind("a TensorFlow Lite model", _ORIGIN, r".{4}TFL3"),
    _Kind(
        "an ONNX model", _REBUILD, r"\x08[\x01-\x20](?:\x12[\x01-\x40][\x20-\x7e]{3}|\x12\0|\x3a)"
    ),
    _Kind(
        "the file saved_model.pb of a SavedModel folder",
        _NAME_FOLDER,
        r"\x08\x01\x12.{1,5}\n.{1,5}\x12.{1,5}\n.{1,3}\n.[A-Z]\w",
    ),
    _Kind("a Core ML model", _REBUILD, r"\x08[\x01-\x0f]\x12.{1,5}\n.{1,3}\n"),
    _Kind(
        "the file keras_metadata.pb of a SavedModel folder", _NAME_FOLDER, r"\n.{1,4}\x1a\x04root"
    ),
    _Kind(
        "the graph (.meta) of a TensorFlow 1 checkpoint",
        _LOAD_SCRIPT,
        r"\n.{1,4}\x12.{1,5}\n.{1,3}\n.[A-Z]\w",
    ),
    _Kind(
        "a TensorFlow graph with frozen weights (.pb)",
        _ORIGIN,
        r"\n.{1,4}\n.[\w./:-]+\x12.[A-Z_]\w",
    ),
    _Kind("a PyTorch file", _REBUILD, r"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"),
    _Kind(
        "a pickle, which is never loaded, since it may run any code",
        f"if you trust it, {_LOAD_SCRIPT}",
        r"\x80[\x02-\x05][\x80-\xff\[\]\(c}q\x94\x95]",
    ),
    _Kind(
        "a file of weights in the safetensors format",
        f"load them into the network in your own script, and {_SAVE}",
        r".{8}\{\s*\"",
    ),
    _Kind(
        "a NumPy array",
        f"put the weights into the network in your own script (set_weights), and {_SAVE}",
        r"\x93NUMPY",
    ),
    _Kind(
        "the index of weights in several files (.weights.json)",
        _BUILDER,
        r"\s*\{.*\"weight_map\"\s*:",
    ),
    _Kind(
        "a network of TensorFlow.js", _ORIGIN, r"\s*\{.*\"(?:modelTopology|weightsManifest)\"\s*:"
    ),
    _Kind(
        "the description of a Keras network, without its weights",
        _WITH_WEIGHTS,
        r"\s*\{.*\"class_name\"\s*:",
    ),
    _Kind(
        "the description of a Keras network in YAML, without its weights",
        _WITH_WEIGHTS,
        r"(?:\w+:[^\n]*\n)*?class_name:\s*\"?\w",
    ),
    _Kind(
        "the file that names the checkpoints in its folder",
        "name the .index file of one of them",
        r"model_checkpoint_path:\s",
    ),
    _Kind("JSON, such as the error of a failed download", f"{_EXPECTED}: {_AGAIN}", r"\s*\{\s*\""),
    _Kind("a file of MATLAB", _REBUILD, r"MATLAB \d"),
    _Kind(
        "a compressed file or archive",
        _UNPACK,
        r"\x1f\x8b|BZh[1-9]|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!|.{257}ustar",
    ),
    _Kind("a model in the GGUF format", _REBUILD, r"GGUF"),
    _Kind("a file of zeros only", f"its content was never written; {_AGAIN}", r"\0{16,}\Z"),
)
_BY_NAME = (
    _Kind(
        "the data of a TensorFlow checkpoint",
        f"name the .index file beside it, and {_BUILDER}",
        name=r"\.data-\d{5}-of-\d{5}",
    ),
    _Kind("a PyTorch file", _REBUILD, name=r"\.(?:pth?|pth\.tar|torch)"),
    _Kind("a TensorFlow Lite model", _ORIGIN, name=r"\.tflite"),
    _Kind("an ONNX model", _REBUILD, name=r"\.onnx"),
    _Kind("a Core ML model", _REBUILD, name=r"\.(?:mlmodel|mlpackage)"),
    _Kind("a network of Caffe", _REBUILD, name=r"\.(?:caffemodel|prototxt)"),
    _Kind("a network of Darknet (YOLO)", _REBUILD, name=r"(?:yolo[^/]*|\.)(?:weights|\.cfg)"),
    _Kind(
        "a network of MXNet or PaddlePaddle", _REBUILD, name=r"\.(?:params|pdparams|pdmodel|pdopt)"
    ),
    _Kind(
        "a network compiled for one kind of device", _ORIGIN, name=r"\.(?:engine|plan|trt|edgetpu)"
    ),
    _Kind(
        "a pickle, which is never loaded, since it may run any code",
        f"if you trust it, {_LOAD_SCRIPT}",
        name=r"\.(?:pkl|pickle|joblib)",
    ),
    _Kind("a TensorFlow graph (.pb)", _ORIGIN, name=r"\.(?:pb|pbtxt)"),
    _Kind("a TensorFlow checkpoint of one file", _LOAD_SCRIPT, name=r"\.ckpt"),
    _Kind(
        "the description of a network, without its weights", _WITH_WEIGHTS, name=r"\.(?:json|ya?ml)"
    ),
)


def is_archive(file: str, name: str) -> bool:
    """Whether a file is a .keras file; else it is an .h5 file.

    Args:
        file: the file, on this machine.
        name: the model file's path, for messages.

    Raises:
        InputError: it is neither; the message says what it is, and what to do next.
    """
    with open(file, "rb") as opened:
        start = opened.read(_HEAD_BYTES)
    if start.startswith(hdf5.SIGNATURE):
        return False
    if not start.startswith(b"PK"):
        raise _refused(file, start, name)
    members = archive.member_names(file, name)
    if not {archive.CONFIG, archive.METADATA, archive.WEIGHTS} & set(members):
        what, advice = _zip_content(members)
        raise InputError(f"{name!r} is {what}, not a model saved by Keras: {advice}")
    return True


def is_checkpoint(file: str) -> bool:
    """Whether a file on this machine is the index of a TensorFlow checkpoint, by its content."""
    with open(file, "rb") as opened:
        opened.seek(0, os.SEEK_END)
        opened.seek(max(0, opened.tell() - len(_TABLE_END)))
        return opened.read() == _TABLE_END


def no_model_here(store: Store, path: str) -> InputError:
    """The error for a path where there is neither a file nor a SavedModel: what is there instead.

    Args:
        store: the store of the path.
        path: the path or address that was named as a model file.
    """
    if not store.is_folder(path):
        return InputError(f"model file {path!r} does not exist; {_EXPECTED}{_beside(store, path)}")
    found = islice(store.list_files(path), _MOST_LOOKED_AT)
    names = sorted(info.path.removeprefix(join(path, "")) for info in found)
    return InputError(
        f"model file {path!r} is a folder; {_EXPECTED}. {_folder_content(path, names)}"
    )


def _refused(file: str, start: bytes, name: str) -> InputError:
    """The error for a file that is neither a zip archive nor HDF5."""
    if not start:
        return InputError(f"{name!r} is empty (0 bytes): {_AGAIN}")
    if is_checkpoint(file):
        return InputError(
            f"{name!r} is a TensorFlow checkpoint, which holds weights only: {_BUILDER}"
        )
    text = start.decode("latin-1")
    base = name.rpartition("/")[2].lower()
    flags = re.DOTALL | re.IGNORECASE
    for kind in _BY_CONTENT:
        if kind.signature and re.match(
            kind.signature, text, flags if "<" in kind.signature else re.DOTALL
        ):
            return _error(name, kind)
    for kind in _BY_NAME:
        if kind.name and re.search(f"{kind.name}$", base):
            return _error(name, kind)
    return InputError(
        f"{name!r} is not a model saved by Keras: {_EXPECTED}, found a file that starts with "
        f"{start[: len(hdf5.SIGNATURE)]!r}. If that is what the download gave, {_AGAIN}"
    )


def _error(name: str, kind: _Kind) -> InputError:
    return InputError(f"{name!r} is {kind.what}, not a model saved by Keras: {kind.advice}")


def _zip_content(members: Sequence[str]) -> tuple[str, str]:
    """What a zip archive is that is no .keras file, and what to do next."""
    bases = {member.rpartition("/")[2] for member in members}
    models = [member for member in members if member.endswith(MODEL_ENDINGS)]
    folders = [member.rpartition("/")[0] for member in members if member.endswith(SAVED_MODEL)]
    parts = [member for member in members if member.endswith(f"/{archive.CONFIG}")]
    if "data.pkl" in bases:
        return "a PyTorch file", _REBUILD
    if members and all(member.endswith(".npy") for member in members):
        return "a file of NumPy arrays (.npz)", (
            f"put the weights into the network in your own script (set_weights), and {_SAVE}"
        )
    if {archive.METADATA, archive.CONFIG, archive.WEIGHTS} <= bases:
        return "a .keras file that was unpacked and packed again with a folder around it", (
            f"pack the files in {parts[0].rpartition('/')[0]!r} without the folder: go into it, "
            "and call zip -0 ../model.keras *"
        )
    if models:
        return "a zip archive", f"unpack it, and name {_listed(models)}"
    if folders:
        return "a zip archive of a SavedModel folder", (
            f"unpack it, and name the folder {folders[0] or 'that you unpack it to'!r}"
        )
    if "Manifest.json" in bases:
        return "a packed Core ML model", _REBUILD
    if "model.json" in bases:
        return "a packed network of TensorFlow.js", _ORIGIN
    return (
        f"a zip archive without a model in it (it holds {_listed(members) or 'nothing'})",
        _EXPECTED,
    )


def _folder_content(path: str, names: Sequence[str]) -> str:
    """What is in a folder that is no SavedModel, and which file of it to name."""
    tops = set(names)
    models = [name for name in names if name.endswith(MODEL_ENDINGS)]
    saved = [name.rpartition("/")[0] for name in names if name.endswith(f"/{SAVED_MODEL}")]
    checkpoints = [name for name in names if name.endswith(INDEX_ENDING)]
    if {archive.CONFIG, archive.WEIGHTS} <= tops:
        return (
            "It holds the parts of a .keras file that was unpacked: go into it, and pack them with "
            "zip -0 ../model.keras *"
        )
    if "Manifest.json" in tops or path.endswith(".mlpackage"):
        return f"It is a Core ML model: {_REBUILD}"
    if models or saved:
        return f"Name {_listed(join(path, each) for each in [*models, *saved])}"
    if checkpoints:
        return (
            "It holds a TensorFlow checkpoint, which is weights only: name "
            f"{_listed(join(path, each) for each in checkpoints)}, and {_BUILDER}"
        )
    if "model.json" in tops:
        return f"It holds a network of TensorFlow.js: {_ORIGIN}"
    return f"It holds no model, but {_listed(names)}"


def _beside(store: Store, path: str) -> str:
    """Files whose names begin like one that does not exist."""
    folder, _, base = path.rpartition("/")
    stem = base.partition(".")[0]
    if not stem or not folder or not store.is_folder(folder):
        return ""
    found = sorted(info.path for info in store.list_files(folder, stem, deep=False))
    return f". Beside it: {_listed(found)}" if found else ""


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(repr(name) for name in every[:_MOST_LISTED])
    left = len(every) - _MOST_LISTED
    return f"{shown} and {left} more" if left > 0 else shown
