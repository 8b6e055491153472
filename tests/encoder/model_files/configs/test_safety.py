"""No code of a model file runs, and no file fills the memory, unless the user trusts it."""

import json
import zipfile

import keras
import numpy as np
import pytest

import encoder
from encoder.errors import InputError
from encoder.model_files.load import load_model
from encoder.storage.registry import store_for
from pipeline.__main__ import main
from tests.conftest import small_network

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
RAN = []


@keras.saving.register_keras_serializable(package="tests")
class Double(keras.layers.Layer):
    def __init__(self, **options):
        RAN.append("Double")
        super().__init__(**options)

    def call(self, inputs):
        return inputs * 2


def halve(values):
    return values / 2


def network(*extra):
    x = inputs = keras.Input((32, 32, 3))
    for layer in extra:
        x = layer(x)
    x = keras.layers.MaxPooling2D(name="pool")(keras.layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, keras.layers.UpSampling2D()(x))


LAYERS = {
    "a Lambda": lambda: keras.layers.Lambda(lambda x: x * 2, name="odd"),
    "the custom class 'tests>Double'": lambda: Double(name="odd"),
    "the function 'halve'": lambda: keras.layers.Activation(halve, name="odd"),
}


@pytest.mark.parametrize("what", LAYERS)
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_foreign_code_is_refused_by_name_before_it_runs(what, name, tmp_path):
    network(LAYERS[what]()).save(tmp_path / name)
    RAN.clear()
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / name)
    assert f"layer 'odd' has {what}" in str(caught.value)
    assert "--trust" in str(caught.value)
    assert RAN == []


@pytest.mark.parametrize("what", ["a Lambda", "the custom class 'tests>Double'"])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_trust_allows_it_all_the_way(what, name, tmp_path, images, capsys):
    network(LAYERS[what]()).save(tmp_path / name)
    made = encoder.extract(tmp_path / name, tmp_path / "bundle", trust=True)
    pixels = np.full((1, 32, 32, 3), 7, np.uint8)
    vectors = made.embed(pixels)
    # The bundle contains the layer too, so it also has to be trusted.
    with pytest.raises(InputError, match=r"--trust"):
        encoder.load(tmp_path / "bundle")
    np.testing.assert_array_equal(
        encoder.load(tmp_path / "bundle", trust=True).embed(pixels), vectors
    )
    words = ["run", "--input", images, "--encoder", tmp_path / "bundle", "--output"]
    words = [str(word) for word in [*words, tmp_path / "out"]]
    assert main(words) == 1
    assert "--trust" in capsys.readouterr().err
    assert main([*words, "--trust"]) == 0


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_what_a_model_was_compiled_with_does_not_matter(name, tmp_path):
    def dice(truth, found):
        return 1 - keras.ops.mean(truth * found)

    model = network()
    model.compile("adam", loss=dice, metrics=[dice])
    model.save(tmp_path / name)
    assert load_model(tmp_path / name)[0].name == model.name


def test_a_lambda_that_is_cut_off_needs_trust_only_once(tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.MaxPooling2D(name="pool")(inputs)
    x = keras.layers.Lambda(lambda x: x * 2)(keras.layers.UpSampling2D()(x))
    keras.Model(inputs, x).save(tmp_path / "m.keras")
    encoder.extract(tmp_path / "m.keras", tmp_path / "bundle", trust=True)
    assert encoder.load(tmp_path / "bundle").spec.layers == ("pool",)


def test_a_zip_bomb(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        with archive.open("config.json", "w") as member:
            for _ in range(200):
                member.write(b" " * (1 << 20))
    with pytest.raises(InputError, match=r"'config.json' in it expands from"):
        load_model(path)


def test_a_file_that_is_cut_short(tmp_path, small_model_file):
    small_network().save(tmp_path / "m.h5")
    for source in (small_model_file, tmp_path / "m.h5"):
        data = source.read_bytes()
        for share in (0.2, 0.6, 0.95):
            path = tmp_path / f"cut{source.suffix}"
            path.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(InputError, match=r"cut\."):
                load_model(path)


def test_weights_that_are_missing_in_the_archive(tmp_path, small_model_file):
    path = tmp_path / "bare.keras"
    with zipfile.ZipFile(small_model_file) as source, zipfile.ZipFile(path, "w") as target:
        for name in ("metadata.json", "config.json"):
            target.writestr(name, source.read(name))
    with pytest.raises(InputError, match=r"can't load .*no 'model.weights.h5'"):
        load_model(path)


def test_a_subclassed_model_is_explained(tmp_path):
    path = tmp_path / "own.keras"
    config = {"module": "mine", "class_name": "Own", "config": {}, "registered_name": "mine>Own"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(InputError, match=r"class 'Own', a subclass of keras.Model.*functional"):
        load_model(path)


@pytest.mark.parametrize(
    ("metadata", "config"), [("[]", "{}"), ("{}", "[]"), ("{}", "nothing"), ("", "{}")]
)
def test_descriptions_that_are_none(tmp_path, metadata, config):
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", metadata)
        archive.writestr("config.json", config)
    with pytest.raises(InputError, match=r"odd\.keras"):
        load_model(path)


def test_in_a_bucket_too(bucket, tmp_path):
    network(LAYERS["a Lambda"]()).save(tmp_path / "m.keras")
    store_for(bucket).write(f"{bucket}/m.keras", (tmp_path / "m.keras").read_bytes())
    with pytest.raises(InputError, match=r"layer 'odd' has a Lambda"):
        load_model(f"{bucket}/m.keras")
