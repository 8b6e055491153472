"""Files and folders that are often taken for a Keras model: what they are, and what to do next."""

import io
import json
import pickle
import zipfile

import h5py
import keras
import numpy as np
import onnx
import pytest

from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.conftest import small_network


def zipped(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def npz():
    data = io.BytesIO()
    np.savez(data, kernel=np.zeros(3))
    return data.getvalue()


def npy():
    data = io.BytesIO()
    np.save(data, np.zeros(3))
    return data.getvalue()


def onnx_model(**options):
    graph = onnx.helper.make_graph([], "g", [], [])
    return onnx.helper.make_model(graph, **options).SerializeToString()


def frozen_graph():
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.nn.relu(tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3), name="input"), name="y")
    return graph.as_graph_def().SerializeToString()


def architecture():
    return small_network().to_json()


SAFETENSORS = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
SAVED_MODEL_PB = b"\x08\x01\x12\x82\xcc\x0c\n\x87\x18\x12\xd7\x17\n^\n\x10AssignVariableOp\x12\x0c"
META_GRAPH = b'\n\x8a\x0c\x12\xe3\x0b\nD\n\x05AddV2\x12\x06\n\x01x"\x01T\x12\x06\n\x01y'
CORE_ML = b"\x08\x04\x12\x5e\n\x1e\n\x05image\x12\x0fInput image"
TORCH = zipped(**{"archive/data.pkl": b"\x80\x02", "archive/data/0": b"1234"})
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
PARTS = {"metadata.json": "{}", "config.json": "{}", "model.weights.h5": "x"}
SEE = r"--builder MODULE:FUNCTION"
KERAS = r"model\.save\('model\.keras'\)"

# name: (content, what it is, what to do next)
FILES = {
    "lfs.h5": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 99\n",
        "a Git LFS pointer",
        "'git lfs pull'",
    ),
    "page.h5": (b"<!DOCTYPE html><html><head>", "an HTML page", "download or copy it again"),
    "page2.keras": (b"\n\n<HTML lang=en>", "an HTML page", "download or copy it again"),
    "denied.h5": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied', "XML", "again"),
    "error.keras": (b'{"error": {"code": 403}}', "JSON", "download or copy it again"),
    "empty.keras": (b"", r"empty \(0 bytes\)", "download or copy it again"),
    "zeros.h5": (bytes(5000), "zeros only", "again"),
    "model.tflite": (b"\x1c\0\0\0TFL3\x14\0 \0", "a TensorFlow Lite model", KERAS),
    "lite.h5": (b"\x20\0\0\0TFL3\x14\0 \0", "a TensorFlow Lite model", KERAS),
    "model.onnx": (onnx_model(producer_name="pytorch"), "an ONNX model", KERAS),
    "bare.bin": (onnx_model(), "an ONNX model", KERAS),
    "unnamed.bin": (onnx_model(producer_name=""), "an ONNX model", KERAS),
    "model.mlmodel": (CORE_ML, "a Core ML model", KERAS),
    "model.pt": (TORCH, "a PyTorch file", KERAS),
    "torch.h5": (TORCH, "a PyTorch file", KERAS),
    "model.pth": (LEGACY_TORCH, "a PyTorch file", KERAS),
    "odd.pth": (b"\xff\xfe\x01", "a PyTorch file", KERAS),
    "model.pkl": (pickle.dumps([1, 2]), "a pickle, which is never loaded", KERAS),
    "model.joblib": (pickle.dumps({"a": np.ones(3)}, 2), "a pickle", KERAS),
    "old.pickle": (pickle.dumps([1], 0), "a pickle", KERAS),
    "packed.joblib": (b"x\x9c\x01\x02", "a pickle", KERAS),
    "w.safetensors": (
        len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS,
        "the safetensors format",
        "your own script",
    ),
    "w.npz": (npz(), r"NumPy arrays \(\.npz\)", "set_weights"),
    "w.npy": (npy(), "a NumPy array", "set_weights"),
    "model.json": (architecture().encode(), "description of a Keras network", SEE),
    "indented.json": (
        json.dumps(json.loads(architecture()), indent=2).encode(),
        "description of a Keras network",
        SEE,
    ),
    "model.yaml": (b"config:\n  layers: []\nclass_name: Model\n", "description of a network", SEE),
    "old.yaml": (b"backend: tensorflow\nclass_name: Model\nconfig:\n", "in YAML", SEE),
    "m.weights.json": (b'{"metadata": {}, "weight_map": {}}', "weights in several files", SEE),
    "tfjs.json": (b'{"format": "layers-model", "modelTopology": {}}', r"TensorFlow\.js", KERAS),
    "saved_model.pb": (SAVED_MODEL_PB, "of a SavedModel folder", "name its folder"),
    "frozen.pb": (frozen_graph(), "frozen weights", KERAS),
    "model.meta": (META_GRAPH, "a TensorFlow 1 checkpoint", KERAS),
    "checkpoint": (b'model_checkpoint_path: "ckpt-1"\n', "names the checkpoints", r"\.index file"),
    "a.data-00000-of-00002": (b"\x01\x02\x03\x04", "data of a TensorFlow checkpoint", SEE),
    "model.ckpt": (b"\x01\x02\x03\x04", "a TensorFlow checkpoint of one file", KERAS),
    "vgg.caffemodel": (b"\n\x05VGG16", "a network of Caffe", KERAS),
    "yolov3.weights": (b"\0\0\0\0\x02\0\0\0", r"a network of Darknet", KERAS),
    "net.mat": (b"MATLAB 5.0 MAT-file, Platform", "a file of MATLAB", KERAS),
    "model.tar.gz": (b"\x1f\x8b\x08\0", "a compressed file", "unpack it"),
    "model.7z": (b"7z\xbc\xaf\x27\x1c\0", "a compressed file", "unpack it"),
    "models.zip": (
        zipped(**{"a/best.h5": "x", "a/read.me": ""}),
        "a zip archive",
        r"unpack it, and name 'a/best\.h5'",
    ),
    "saved.zip": (zipped(**{"m/saved_model.pb": "x"}), "SavedModel folder", "the folder 'm'"),
    "photos.zip": (zipped(**{"a.jpg": ""}), r"without a model in it \(it holds 'a\.jpg'\)", ""),
    "again.keras": (
        zipped(**{f"model/{name}": content for name, content in PARTS.items()}),
        "with a folder around it",
        "the files in 'model' without the folder",
    ),
    "notes.h5": (b"hello", r"expected a \.keras or \.h5 file.*starts with b'hello'", "again"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("options", [{}, {"trust": True}], ids=["", "trusted"])
def test_files_that_are_no_keras_model(tmp_path, name, options):
    content, what, advice = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"(?:{what}).*{advice}"):
        load_model(tmp_path / name, **options)


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "page.h5", "w.npz", "model.tar.gz"])
def test_they_are_no_weights_either(tmp_path, name):
    content, what, _ = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=what):
        load_model(tmp_path / name, builder="tests.conftest:small_network")


def test_no_pickle_is_loaded(tmp_path):
    class Dangerous:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    for name, data in {
        "m.pkl": pickle.dumps(Dangerous()),
        "m.pt": zipped(**{"m/data.pkl": pickle.dumps(Dangerous())}),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError):
            load_model(tmp_path / name, trust=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("share", [0.3, 0.99])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_downloads_that_were_cut_short(tmp_path, name, share):
    path = tmp_path / name
    small_network().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"not a whole \.\w+ file.*Download or copy it again"):
        load_model(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["run1/best.keras", "run1/log.txt", "a.h5"], r"Name .*a\.h5', .*run1/best\.keras'"),
        (["1/saved_model.pb", "1/variables/variables.index"], r"Name '.*/models/1'"),
        (["ckpt.index", "ckpt.data-00000-of-00001", "checkpoint"], rf"name .*ckpt\.index'.*{SEE}"),
        (list(PARTS), r"parts of a \.keras file that was unpacked"),
        (["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"], "a Core ML model"),
        (["model.json", "group1-shard1of1.bin"], r"TensorFlow\.js"),
        (["a.jpg"], r"It holds no model, but 'a\.jpg'"),
    ],
)
def test_folders(tmp_path, names, message):
    for name in names:
        (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / name).touch()
    with pytest.raises(InputError, match=rf"is a folder.*{message}"):
        load_model(tmp_path / "models")


def test_a_name_without_its_ending(tmp_path):
    (tmp_path / "best_model.keras").touch()
    with pytest.raises(InputError, match=r"does not exist.*Beside it: .*best_model\.keras'"):
        load_model(tmp_path / "best_model")


@pytest.mark.parametrize(
    ("saved", "name"), [("m.keras", "m.h5"), ("m.h5", "m.keras"), ("m.keras", "odd name.onnx")]
)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_content_of_a_model_decides_not_its_name(tmp_path, saved, name):
    keras.saving.save_model(small_network(), tmp_path / saved)
    (tmp_path / saved).rename(tmp_path / name)
    assert load_model(tmp_path / name)[0].count_params()


def test_hdf5_files_of_other_data(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as archive:
        archive["photos"] = np.zeros((2, 8, 8, 3))
    with pytest.raises(InputError, match=r"HDF5 file of other data.*it holds 'photos'"):
        load_model(tmp_path / "data.h5")
