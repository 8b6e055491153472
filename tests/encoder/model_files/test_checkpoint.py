"""TensorFlow checkpoints, as weights of a network that a builder makes."""

import hashlib
import pathlib
import shutil
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import encoder
from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.conftest import small_network

# Keras 2 wrote it with save_weights: weight number n goes from n to n + 1, in the order of the
# network below.
KERAS_2 = pathlib.Path(__file__).parents[2] / "data" / "keras2_checkpoint" / "weights"


def network(first="conv2", second="conv3", filters=4, inside="inside"):
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(x)
    x = keras.Sequential(
        [layers.SeparableConv2D(4, 3, name=inside), layers.BatchNormalization(name="norm")],
        name="block",
    )(x)
    x = layers.DepthwiseConv2D(3, name="depth")(x)
    x = layers.Conv2D(4, 3, name=first)(x)
    return keras.Model(inputs, layers.Conv2D(filters, 3, name=second)(x))


def without_the_last():
    model = network()
    return keras.Model(model.input, model.layers[-2].output)


def odd_layers():
    """Layers in layers, and one that computes with copies of its weights."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Normalization(name="scale")(x)
    x = layers.Conv2D(4, 3, strides=4, name="conv")(x)
    x = layers.TimeDistributed(layers.Dense(4), name="rows")(x)
    x = layers.Reshape((64, 4))(x)
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="attention")(x, x))


@pytest.fixture
def builder(monkeypatch):
    """A function that makes a name for --builder of a function that makes a network."""

    def named(make):
        module = types.ModuleType("networks_of_a_test")
        module.make = make
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return f"{module.__name__}:make"

    return named


def filled(model, seed=3):
    random = np.random.default_rng(seed)
    model.set_weights([random.random(weight.shape) for weight in model.weights])
    return model


def assert_same_weights(model, other):
    for weight, expected in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy(), weight.path)


@pytest.mark.parametrize("ending", ["", ".index"])
def test_weights_that_keras_2_has_saved(builder, ending):
    model, sha256 = load_model(f"{KERAS_2}{ending}", builder=builder(network))
    for number, weight in enumerate(model.weights):
        expected = np.linspace(number, number + 1, weight.numpy().size, dtype=np.float32)
        np.testing.assert_array_equal(weight.numpy().reshape(-1), expected, weight.path)
    assert len(sha256) == 64


def test_the_hash_is_that_of_both_files(builder):
    data = KERAS_2.with_suffix(".data-00000-of-00001").read_bytes()
    both = hashlib.sha256(KERAS_2.with_suffix(".index").read_bytes() + data).hexdigest()
    assert load_model(KERAS_2, builder=builder(network))[1] == both


def test_a_checkpoint_in_a_bucket(builder, bucket):
    from encoder.storage.registry import store_for

    for file in KERAS_2.parent.iterdir():
        path = f"{bucket}/{file.name}"
        store_for(path).write(path, file.read_bytes())
    found = load_model(f"{bucket}/weights", builder=builder(network))
    assert found[1] == load_model(KERAS_2, builder=builder(network))[1]


@pytest.mark.parametrize(
    ("make", "alone"),
    [(small_network, True), (network, True), (network, False), (odd_layers, False)],
)
def test_checkpoints_of_keras_3(builder, tmp_path, make, alone):
    """A network alone, and one beside its optimizer and a counter."""
    trained = filled(make())
    if alone:
        tf.train.Checkpoint(trained).write(f"{tmp_path}/ckpt")
    else:
        trained.compile("adam", "mse")
        trained.optimizer.build(trained.trainable_variables)
        tf.train.Checkpoint(
            net=trained, optimizer=trained.optimizer, step=tf.Variable(7, dtype=tf.int64)
        ).write(f"{tmp_path}/ckpt")
    model, _ = load_model(tmp_path / "ckpt.index", builder=builder(make))
    assert_same_weights(model, trained)
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    for layer in trained.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    np.testing.assert_array_equal(model(images).numpy(), trained(images).numpy())


def test_an_encoder_of_a_checkpoint(builder, tmp_path):
    trained = filled(small_network())
    tf.train.Checkpoint(trained).write(f"{tmp_path}/ckpt")
    made = encoder.extract(
        tmp_path / "ckpt.index", tmp_path / "bundle", builder=builder(small_network)
    )
    assert made.spec.id == encoder.extract(trained, tmp_path / "direct").spec.id


def test_a_checkpoint_of_tensorflow_1(builder, tmp_path):
    """It has names, and no graph of objects."""
    trained = filled(small_network())
    named = {weight.path: tf.Variable(weight.numpy()) for weight in trained.weights}
    saver = tf.compat.v1.train.Saver(named)
    saver.save(None, f"{tmp_path}/model.ckpt", global_step=7, write_meta_graph=False)
    model, _ = load_model(tmp_path / "model.ckpt-7", builder=builder(small_network))
    assert_same_weights(model, trained)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_the_last, r"2 weights in .*found no place in the network \(layer_with_weights-4/"),
        (lambda: network(filters=5), r"conv3/kernel has the shape \(3, 3, 4, 5\).*\(3, 3, 4, 4\)"),
        (lambda: network("conv3", "conv2"), "of the layer 'conv2' have the place of 'conv3'"),
        (small_network, "weights of the network are not in the file|do not fit"),
    ],
)
def test_networks_that_do_not_fit(builder, make, message):
    with pytest.raises(InputError, match=message):
        load_model(KERAS_2, builder=builder(make))


def test_names_that_keras_counts_do_not_matter(builder):
    model, _ = load_model(KERAS_2, builder=builder(lambda: network("conv2d_1", "conv2d")))
    assert model.layers[-1].bias.numpy()[0] == 14


def test_two_networks_of_which_both_fit(builder, tmp_path):
    one, other = filled(small_network()), filled(small_network(), 4)
    tf.train.Checkpoint(model=one, average=other).write(f"{tmp_path}/ckpt")
    with pytest.raises(InputError, match="holds 2 networks that have the weights"):
        load_model(tmp_path / "ckpt.index", builder=builder(small_network))


@pytest.mark.parametrize("missing", ["weights.data-00000-of-00001", "half of the data"])
def test_a_checkpoint_that_is_not_whole(builder, tmp_path, missing):
    for file in KERAS_2.parent.iterdir():
        shutil.copy(file, tmp_path)
    data = tmp_path / "weights.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:2000])
    if "half" not in missing:
        data.unlink()
    with pytest.raises(InputError, match=r"no whole TensorFlow checkpoint.*belong together"):
        load_model(tmp_path / "weights.index", builder=builder(network))


def test_without_a_builder():
    with pytest.raises(InputError, match=r"a TensorFlow checkpoint.*--builder MODULE:FUNCTION"):
        load_model(f"{KERAS_2}.index")
