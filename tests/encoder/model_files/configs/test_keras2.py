"""Files written by Keras 2 (the real tf-keras), against the values that tf-keras computes."""

import functools
import json
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

import encoder
from encoder.errors import InputError
from encoder.model_files.load import load_model
from encoder.storage.registry import store_for

pytestmark = pytest.mark.slow

# Runs in its own process: two versions of Keras in one process share logging and names.
MAKE = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, tf_keras as keras
L, folder = keras.layers, sys.argv[1]
keras.utils.set_random_seed(1)
images = np.load(f"{folder}/images.npy").astype("float32")

def backbone():
    x = inputs = keras.Input((32, 32, 3))
    for filters in (4, 8):
        x = L.Conv2D(filters, 3, padding="same", name=f"conv{filters}")(x)
        x = L.ReLU()(L.BatchNormalization(name=f"norm{filters}")(x))
        x = L.MaxPooling2D(name=f"pool{filters}")(x)
    return keras.Model(inputs, x, name="backbone")

def plain():
    x = inputs = keras.Input((32, 32, 3))
    x = L.MaxPooling2D(name="pool8")(L.Conv2D(8, 3, padding="same", name="conv")(x))
    return keras.Model(inputs, L.Conv2D(3, 3, padding="same")(L.UpSampling2D()(x)))

def nested():
    inputs = keras.Input((32, 32, 3))
    x = L.GlobalAveragePooling2D()(backbone()(inputs))
    return keras.Model(inputs, L.Dense(2)(x))

def nested_sequential():
    tower = keras.Sequential(name="tower", layers=[
        keras.Input((32, 32, 3)), L.Conv2D(8, 3, name="conv8"), L.MaxPooling2D(name="pool8")])
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(tower(inputs))))

def in_sequential():
    return keras.Sequential([backbone(), L.Flatten(), L.Dense(2)])

def preprocessed():
    inputs = keras.Input((32, 32, 3))
    x = backbone()(keras.applications.vgg16.preprocess_input(inputs))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))

def arithmetic():
    inputs = keras.Input((32, 32, 3))
    x = inputs / 127.5 - 1.0
    x = L.Conv2D(8, 3, padding="same")(x)
    x = keras.backend.concatenate([x, x * x], axis=-1)
    x = L.MaxPooling2D(name="pool8")(x + 0.5 * x)
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))

def decoder():
    x = inputs = keras.Input((32, 32, 3))
    x = L.SeparableConv2D(8, 3, padding="same")(L.DepthwiseConv2D(3, padding="same")(x))
    x = L.MaxPooling2D(name="pool8")(x)
    return keras.Model(inputs, L.Conv2DTranspose(3, 2, strides=2)(x))

for make in (decoder, plain, nested, nested_sequential, in_sequential, preprocessed, arithmetic):
    model = make()
    model.set_weights([np.random.default_rng(i).uniform(0.1, 0.5, w.shape).astype("float32")
                       for i, w in enumerate(model.get_weights())])
    model.save(f"{folder}/{make.__name__}.h5")
    model.save(f"{folder}/{make.__name__}-saved", save_format="tf")
    if make is not preprocessed:  # Keras 2 can't write that one as .keras
        model.save(f"{folder}/{make.__name__}.keras")
    model.save_weights(f"{folder}/{make.__name__}.weights-keras2.h5")
    found = [m for m in (model, *model.layers) if isinstance(m, keras.Model)
             and any(l.name == "pool8" for l in m.layers)][0]
    tap = keras.Model(found.input, found.get_layer("pool8").output)
    values = images
    for layer in model.layers:  # what comes before the nested model
        if layer is found or found is model:
            break
        if not isinstance(layer, keras.layers.InputLayer):
            before = keras.Model(model.input, layer.output)
            values = before(images)
    np.save(f"{folder}/{make.__name__}.npy", tap(values, training=False).numpy().mean((1, 2)))
"""
ENDINGS = [".h5", "-saved", ".keras"]
KINDS = [
    "plain",
    "nested",
    "nested_sequential",
    "in_sequential",
    "preprocessed",
    "arithmetic",
    "decoder",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras2")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.save(folder / "images.npy", images)
    script = folder / "make.py"
    script.write_text(MAKE)
    result = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def extracted(folder, tmp_path_factory):
    """The encoder of a file. Each file is converted once: that starts a process."""

    @functools.cache
    def of(file):
        output = tmp_path_factory.mktemp("bundle")
        return encoder.extract(folder / file, output, layer="pool8", preprocess="none")

    return of


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(k, e) for k in KINDS for e in ENDINGS if (k, e) != ("preprocessed", ".keras")],
)
def test_it_computes_what_keras_2_computes(folder, extracted, kind, ending):
    made = extracted(f"{kind}{ending}")
    vectors = made.embed(np.load(folder / "images.npy"))
    expected = np.load(folder / f"{kind}.npy")
    np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_id_is_the_same_in_every_format(folder, extracted, kind):
    ids = {
        extracted(f"{kind}{ending}").spec.id
        for ending in ENDINGS
        if (folder / f"{kind}{ending}").exists()
    }
    assert len(ids) == 1


def test_the_class_name_model(folder, tmp_path):
    """Keras of TensorFlow before 2.3 wrote "Model", later versions write "Functional"."""
    path = shutil.copy(folder / "nested.h5", tmp_path / "old.h5")
    with h5py.File(path, "r+") as archive:
        config = archive.attrs["model_config"].replace('"Functional"', '"Model"')
        assert config.count('"class_name": "Model"') == 2
        archive.attrs["model_config"] = config
    old = encoder.extract(path, tmp_path / "a").spec
    assert old.id == encoder.extract(folder / "nested.h5", tmp_path / "b").spec.id


def test_a_saved_model_in_a_bucket(folder, bucket, tmp_path):
    source = folder / "nested-saved"
    for path in source.rglob("*"):
        if path.is_file():
            target = f"{bucket}/models/nested/{path.relative_to(source)}"
            store_for(target).write(target, path.read_bytes())
    spec = encoder.extract(f"{bucket}/models/nested", tmp_path / "a").spec
    assert spec.id == encoder.extract(source, tmp_path / "b").spec.id


def test_operations_outside_of_arithmetic_are_refused(folder, tmp_path):
    path = shutil.copy(folder / "arithmetic.h5", tmp_path / "evil.h5")
    with h5py.File(path, "r+") as archive:
        config = archive.attrs["model_config"].replace("math.truediv", "io.read_file")
        archive.attrs["model_config"] = config
    with pytest.raises(InputError, match=r"io\.read_file, which is not among the operations"):
        load_model(path)


def test_without_tf_keras_the_message_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(InputError, match=r"pip install tf-keras"):
        load_model(folder / "plain-saved")


def test_a_saved_model_without_layers(folder, tmp_path):
    path = shutil.copytree(folder / "plain-saved", tmp_path / "bare")
    (pathlib.Path(path) / "keras_metadata.pb").unlink()
    with pytest.raises(InputError, match=r"without Keras' description of its layers"):
        load_model(path)


def test_a_missing_shard_of_variables(folder, tmp_path):
    path = shutil.copytree(folder / "plain-saved", tmp_path / "broken")
    for shard in (pathlib.Path(path) / "variables").glob("*.data-*"):
        shard.unlink()
    with pytest.raises(InputError, match=r"can't take .*broken"):
        load_model(path)


def test_the_model_config_is_rewritten_only_where_it_has_to_be(folder):
    from encoder.model_files.configs.keras2 import modernize, name_operations

    with h5py.File(folder / "in_sequential.h5") as archive:
        config = json.loads(archive.attrs["model_config"])
    assert modernize(config)
    assert not modernize(config["config"]["layers"][-1])
    assert not name_operations({"config": {"layers": []}})
