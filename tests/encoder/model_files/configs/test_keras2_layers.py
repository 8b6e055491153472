"""Layers and dtype policies of Keras 2 that Keras 3 lacks or reads otherwise."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

import encoder
from encoder.errors import InputError
from encoder.model_files.configs.keras2_layers import check_convertible, modernize_layers
from encoder.model_files.load import load_model
from tests.encoder.model_files import hostile

pytestmark = pytest.mark.slow

# In its own process: two versions of Keras in one process share logging and names.
MAKE = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, tensorflow as tf, tf_keras as keras
from tf_keras.src.applications import convnext, inception_resnet_v2
L, folder = keras.layers, sys.argv[1]
images = np.load(f"{folder}/images.npy")

def network(*layers):
    x = inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, strides=2, name="conv")(x)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)

def mixed(policy, operations):
    keras.mixed_precision.set_global_policy(policy)
    x = inputs = keras.Input((32, 32, 3))
    if operations:
        x = x / 2.0 - 0.5
    inner = keras.Sequential([keras.Input((32, 32, 3)), L.Conv2D(4, 3), L.BatchNormalization()])
    x = L.TimeDistributed(L.Conv1D(4, 3, activation="relu"))(inner(x))
    model = keras.Model(inputs, L.Dense(2, dtype="float32")(L.GlobalAveragePooling2D()(x)))
    keras.mixed_precision.set_global_policy("float32")
    return model

def attention():
    inner = network()
    inputs = keras.Input((32, 32, 3))
    x = inner(inputs)
    y = L.MultiHeadAttention(2, 3, attention_axes=(1, 2))(L.Conv2D(4, 3, strides=3)(x), value=x)
    return keras.Model(inputs, L.Attention()([L.Reshape((25, 4))(y), L.Reshape((225, 4))(x)]))

def states():
    x = inputs = keras.Input((32, 32, 3))
    state = L.Dense(5)(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, L.LSTM(5)(L.Reshape((32, 96))(x), initial_state=[state, state]))

def slashes():
    inner = keras.Sequential([keras.Input((32, 32, 3)), L.Conv2D(3, 3, name="a/b")], name="in/ner")
    x = inputs = keras.Input((32, 32, 3), name="in/put")
    x = L.Conv2D(3, 3, name="conv1/conv")(inner(x) / 2.0)
    y = L.Conv2D(3, 3, padding="same", name="conv1_conv")(x)
    y = L.TimeDistributed(L.Conv1D(3, 3, padding="same", name="x/y"), name="z/w")(y)
    return keras.Model(inputs, L.Add(name="out/put")([x, y]), name="mo/del")

def dicts():
    inputs = keras.Input((32, 32, 3), name="image")
    return keras.Model({"image": inputs}, {"map": L.Conv2D(2, 3)(inputs)})

def deep():
    inner = keras.Sequential([network(), L.ReLU()])
    return keras.Sequential([keras.Input((32, 32, 3)), inner, L.Flatten()])

class FixedDropout(L.Dropout):
    pass

wide = L.Conv2D(3, 2, dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
models = {
    "mixed_float16": mixed("mixed_float16", False),
    "mixed_bfloat16": mixed("mixed_bfloat16", False),
    "mixed_operations": mixed("mixed_float16", True),
    "policy_of_a_layer": network(wide, L.Conv2D(2, 2, dtype="bfloat16"), L.ReLU(dtype="float32")),
    "dropouts": network(L.SpatialDropout2D(0.5), L.Reshape((75, 12)), L.SpatialDropout1D(0.5)),
    "dropout_3d": network(L.Reshape((3, 5, 15, 4)), L.SpatialDropout3D(0.5)),
    "augmented": network(
        L.RandomFlip(), L.RandomRotation(0.5), L.RandomZoom(0.5), L.RandomContrast(0.5),
        L.RandomTranslation(0.5, 0.5), L.RandomBrightness(0.5), L.RandomHeight(0.5),
        L.RandomWidth(0.5)),
    "random_crop": network(L.RandomCrop(10, 8)),
    "thresholded": network(L.ThresholdedReLU(0.3)),
    "local": network(L.LocallyConnected2D(3, (3, 2), strides=(2, 1), activation="relu")),
    "local_1d": network(L.Reshape((75, 12)), L.LocallyConnected1D(3, 4, use_bias=False)),
    "hard_sigmoid": network(L.Conv2D(4, 3, activation="hard_sigmoid")),
    "hard_sigmoids": network(
        L.Activation("hard_sigmoid"), L.Reshape((75, 12)),
        L.Bidirectional(L.LSTM(3, recurrent_activation="hard_sigmoid"))),
    "recurrent": network(L.Reshape((75, 12)), L.GRU(4, return_sequences=True), L.SimpleRNN(3)),
    "recurrent_2d": network(L.Reshape((3, 5, 15, 4)), L.ConvLSTM2D(2, 3)),
    "axes": network(L.LayerNormalization(axis=[1, 2, 3]), L.UnitNormalization(axis=[1, 2]),
                    L.Softmax(axis=[1, 2])),
    "base_layer": network(L.Layer()),
    "softmax_of_tensorflow": network(L.Conv2D(4, 2, activation=tf.nn.softmax),
                                     L.Activation(tf.nn.log_softmax)),
    "fixed_dropout": network(FixedDropout(0.5, noise_shape=(None, 1, 1, None))),
    "gaussian": network(L.Resizing(9, 11, interpolation="gaussian")),
    "synchronized": network(L.experimental.SyncBatchNormalization()),
    "constrained": network(L.Conv2D(4, 3, kernel_constraint="RadialConstraint")),
    "convnext": network(convnext.LayerScale(0.5, 4), convnext.StochasticDepth(0.5)),
    "policy_and_scale": network(
        L.Conv2D(4, 2, dtype=keras.mixed_precision.Policy("mixed_bfloat16")),
        convnext.LayerScale(0.5, 4)),
    "attention": attention(), "states": states(), "slashes": slashes(), "dicts": dicts(),
    "deep": deep(),
}
inputs = keras.Input((32, 32, 3))
x = L.Conv2D(4, 3)(inputs)
models["inception_resnet"] = keras.Model(
    inputs, inception_resnet_v2.CustomScaleLayer(0.3)([x, L.Conv2D(4, 1)(x)]))
models["implementation"] = network(L.LocallyConnected2D(2, 3, implementation=2))
expected = {}
for name, model in models.items():
    for i, weight in enumerate(model.weights):
        if "seed" not in weight.name and weight.dtype.is_floating:
            values = np.random.default_rng(i).normal(size=weight.shape) * 0.5
            values = abs(values) if "variance" in weight.name else values
            weight.assign(tf.cast(values, weight.dtype))
    output = model(images, training=False)
    output = output["map"] if isinstance(output, dict) else output
    expected[name] = tf.cast(output, "float32").numpy()
    model.save(f"{folder}/{name}.h5")
models["convnext"].save(f"{folder}/convnext.keras")
models["policy_and_scale"].save(f"{folder}/policy_and_scale-saved", save_format="tf")
np.savez(f"{folder}/expected.npz", **expected)
"""
# The layers compute in 16 bits, and the two versions of Keras round at other places.
ROUNDED = {
    *("mixed_float16", "mixed_bfloat16", "mixed_operations", "policy_of_a_layer"),
    "policy_and_scale",
}
NAMES = [
    *("mixed_float16", "mixed_bfloat16", "mixed_operations", "policy_of_a_layer", "dropouts"),
    *("dropout_3d", "augmented", "random_crop", "thresholded", "local", "local_1d"),
    *("hard_sigmoid", "hard_sigmoids", "recurrent", "recurrent_2d", "axes", "base_layer"),
    *("gaussian", "synchronized", "constrained", "convnext", "attention", "dicts", "deep"),
    *("inception_resnet", "states", "slashes", "fixed_dropout"),
    "softmax_of_tensorflow",
]
OTHER_FILES = ["convnext.keras", "policy_and_scale-saved"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras2_layers")
    images = np.random.default_rng(0).uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
    np.save(folder / "images.npy", images)
    script = folder / "make.py"
    script.write_text(MAKE)
    result = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def values(model, folder):
    images = np.load(folder / "images.npy")
    takes_dict = isinstance(getattr(model, "_inputs_struct", None), dict)
    output = model({"image": images} if takes_dict else images, training=False)
    output = output["map"] if takes_dict else output
    return np.asarray(output, np.float32)


@pytest.mark.parametrize("file", [*(f"{name}.h5" for name in NAMES), *OTHER_FILES])
def test_it_computes_what_keras_2_computes(folder, file):
    name = file.removesuffix(".h5").removesuffix(".keras").removesuffix("-saved")
    expected = np.load(folder / "expected.npz")[name]
    tolerance = 0.02 if name in ROUNDED else 1e-5
    found = values(load_model(folder / file)[0], folder)
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_it_computes_in_the_dtype_of_its_policy(folder, name):
    model = load_model(folder / f"{name}.h5")[0]
    inner = model.layers[1].layers[0]
    assert inner.compute_dtype == name.removeprefix("mixed_")
    assert model.layers[-1].compute_dtype == "float32"
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}


@pytest.mark.parametrize("name", ["hard_sigmoid", "local", "thresholded", "convnext"])
def test_a_bundle_of_such_layers(folder, tmp_path, name):
    made = encoder.extract(folder / f"{name}.h5", tmp_path / "a", layer="-1", preprocess="none")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    again = encoder.load(tmp_path / "a").embed(images)
    whole = load_model(folder / f"{name}.h5")[0](images.astype(np.float32)).numpy()
    np.testing.assert_allclose(again, whole.mean((1, 2)), rtol=1e-4, atol=1e-4)
    assert again.shape == (2, made.spec.dim)


def test_a_layer_that_stores_its_weights_otherwise(folder):
    with pytest.raises(InputError, match=r"\(LocallyConnected2D\).*stores its weights"):
        load_model(folder / "implementation.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_hard_sigmoid_of_keras_3_stays(tmp_path):
    import keras

    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, activation="hard_sigmoid")(image))
    model.save(tmp_path / "m.h5")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    found = load_model(tmp_path / "m.h5")[0](images)
    np.testing.assert_allclose(found, model(images), atol=1e-6)


def test_models_as_keras_wrote_them_before_2_2_3(folder, tmp_path):
    """Sequential models were a list of layers, without an InputLayer."""
    path = shutil.copy(folder / "thresholded.h5", tmp_path / "old.h5")
    with h5py.File(path, "r+") as archive:
        layers = json.loads(archive.attrs["model_config"])["config"]["layers"][1:]
        layers[0]["config"]["batch_input_shape"] = [None, 32, 32, 3]
        archive.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
        archive.attrs["keras_version"] = "2.1.6"
        names = list(archive["model_weights"].attrs["layer_names"])
        archive["model_weights"].attrs["layer_names"] = names[1:]
    expected = np.load(folder / "expected.npz")["thresholded"]
    found = values(load_model(path)[0], folder)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"class_name": "Policy", "config": {"name": "mixed_float16"}}, "mixed_float16"),
        (
            {
                "class_name": "PolicyV1",  # TensorFlow 2.1 to 2.3
                "config": {
                    "name": "mixed_bfloat16",
                    "loss_scale": {"class_name": "DynamicLossScale", "config": {}},
                },
            },
            "mixed_bfloat16",
        ),
        ({"class_name": "Policy", "config": {"name": "_infer"}}, None),
        ("float32", "float32"),
    ],
)
def test_policies(policy, expected):
    layer = hostile.layer("Conv2D", dtype=policy)
    modernize_layers([layer])
    assert layer["config"].get("dtype") == expected


def test_settings_as_earlier_versions_of_keras_2_wrote_them():
    initializer = {"class_name": "GlorotUniform", "config": {"seed": None, "dtype": "float32"}}
    relu = hostile.layer("ReLU", max_value={"type": "ndarray", "value": 6.0}, dtype="float32")
    modernize_layers([hostile.layer("Conv2D", kernel_initializer=initializer), relu])
    assert initializer["config"] == {"seed": None}
    assert relu["config"] == {"name": "odd", "max_value": 6.0, "dtype": "float32"}


def test_layers_in_layers_as_keras_2_4_wrote_them():
    """Without a module, Keras 3 does not find them: TimeDistributed, Bidirectional, RNN failed."""
    inner = {"class_name": "Conv1D", "config": {"name": "inner", "filters": 2, "kernel_size": [3]}}
    cells = [{"class_name": "GRUCell", "config": {"units": 3}}]
    activation = {"class_name": "LeakyReLU", "config": {"name": "leaky", "alpha": 0.2}}
    layers = [
        {"class_name": "TimeDistributed", "config": {"layer": inner}},
        {"class_name": "StackedRNNCells", "config": {"cells": cells}},
        {"class_name": "Conv2D", "config": {"activation": activation}},
    ]
    modernize_layers(layers)
    assert [each["module"] for each in (inner, *cells, activation)] == ["keras.layers"] * 3


def test_what_tf_keras_cannot_read_is_refused_by_name():
    odd = {"class_name": "SpectralNormalization", "config": {"name": "odd", "layer": {}}}
    with pytest.raises(InputError, match=r"'m\.keras' has the layer 'odd' \(SpectralNorm"):
        check_convertible({"class_name": "Functional", "config": {"layers": [odd]}}, "m.keras")


def test_discretization_as_keras_2_4_wrote_it():
    layer = {"class_name": "Discretization", "config": {"name": "odd", "bins": [0.5]}}
    modernize_layers(layer)
    assert layer["config"] == {"name": "odd", "bin_boundaries": [0.5]}


def test_attention_that_looks_back_only():
    attention = {"class_name": "Attention", "config": {"name": "odd", "causal": False}}
    modernize_layers(attention)
    assert attention["config"] == {"name": "odd"}
    attention["config"]["causal"] = True
    with pytest.raises(InputError, match=r"'odd' \(Attention\).*causal"):
        modernize_layers(attention)


def test_time_as_the_first_axis():
    with pytest.raises(InputError, match=r"\(LSTM\).*time_major"):
        modernize_layers(hostile.layer("LSTM", time_major=True))
