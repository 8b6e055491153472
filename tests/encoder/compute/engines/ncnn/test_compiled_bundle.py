"""A bundle's compiled form: written by extract, proved, checked when it is loaded."""

import json
import logging
import subprocess
import sys

import keras
import numpy as np
import pytest

import encoder
from encoder.compute.engines.ncnn import compile as compiling
from encoder.compute.engines.ncnn.compile import compile_form, images_to_compare
from encoder.compute.engines.ncnn.convert import Converted
from encoder.compute.engines.ncnn.form import BIN_FILE, PARAM_FILE, TOLERANCE
from encoder.extraction import add_compiled_form
from encoder.spec import COMPILED, SEAL, check_seal, read_spec, seal
from examples.real_data import photographs
from tests.conftest import small_network


@pytest.fixture
def bundle(small_model_file, tmp_path):
    encoder.extract(small_model_file, tmp_path / "bundle")
    return tmp_path / "bundle"


def values_of(bundle):
    return json.loads((bundle / "encoder.json").read_text())


def without_form(bundle, sealed=True):
    """Make it a bundle of before there were compiled forms."""
    (bundle / PARAM_FILE).unlink()
    (bundle / BIN_FILE).unlink()
    spec = read_spec(bundle)
    text = seal(spec, str(bundle / "encoder.keras")) if sealed else spec.to_json()
    (bundle / "encoder.json").write_text(text)
    return bundle


def pixels(spec, count=5):
    shape = (count, spec.height, spec.width, spec.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def assert_alike(bundle):
    ncnn, keras_ = (encoder.load(bundle, engine=engine) for engine in ("ncnn", "keras"))
    images = pixels(ncnn.spec)
    found, expected = ncnn.embed(images), keras_.embed(images)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_extract_writes_it_and_says_so(small_model_file, tmp_path):
    said = []
    made = encoder.extract(small_model_file, tmp_path, say=said.append)
    form = values_of(tmp_path)[COMPILED]["ncnn"]
    assert form["max_difference"] <= TOLERANCE
    assert any("ncnn" in each and "can compute it, too" in each for each in said)
    assert "(ncnn " in made.computes_on
    assert_alike(tmp_path)


def test_the_keras_model_of_such_an_encoder_is_there_when_it_is_asked_for(bundle):
    made = encoder.load(bundle, engine="ncnn")
    assert isinstance(made.model, keras.Model)
    assert made.model is made.model


def test_embedding_imports_neither_keras_nor_tensorflow(bundle):
    script = f"""
        import sys, numpy, encoder
        made = encoder.load({str(bundle)!r})
        made.embed(numpy.zeros((2, 32, 32, 3), numpy.uint8))
        print(sorted({{"keras", "tensorflow", "jax"}} & set(sys.modules)), made.engine.name)
    """
    command = [sys.executable, "-c", "\n".join(map(str.strip, script.splitlines()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[] ncnn\n"


@pytest.mark.parametrize("name", [PARAM_FILE, BIN_FILE])
def test_damage_is_found(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(encoder.InputError, match="are not those that were written with the bundle"):
        encoder.load(bundle)
    assert encoder.load(bundle, engine="keras").engine.name == "keras"


def test_a_bundle_that_lacks_the_files(bundle, caplog):
    (bundle / BIN_FILE).unlink()
    with caplog.at_level(logging.WARNING):
        assert encoder.load(bundle).engine.name == "keras"
    assert f"the bundle has no {BIN_FILE}: Keras computes, slower" in caplog.text
    with pytest.raises(encoder.InputError, match=f"--engine ncnn: .* has no {BIN_FILE}: copy the"):
        encoder.load(bundle, engine="ncnn")


def test_a_model_that_was_changed_is_found_though_ncnn_does_not_read_it(bundle):
    small_network(seed=5).save(bundle / "encoder.keras")
    with pytest.raises(encoder.InputError, match="do not belong together"):
        encoder.load(bundle)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 3, {}, {"ncnn": 1}, {"ncnn": {"version": "1"}}),
        {"ncnn": {"version": 1, "refused": "x"}},
        {"ncnn": {"version": "1", "sha256": "x", "max_difference": 0, "large_kernels": 0}},
        {"ncnn": {"version": "1", "sha256": "0" * 64, "max_difference": 0}},
        {"ncnn": {"version": "1", "sha256": "0" * 64, "max_difference": 1.0, "large_kernels": 0}},
        {"ncnn": {"version": "1", "sha256": "0" * 64, "max_difference": "0", "large_kernels": 0}},
        {"ncnn": {"version": "1", "sha256": "0" * 64, "max_difference": 0, "large_kernels": 2}},
    ],
)
def test_a_description_that_is_none(bundle, value):
    text = json.dumps({**values_of(bundle), COMPILED: value})
    (bundle / "encoder.json").write_text(text)
    with pytest.raises(encoder.InputError, match="is damaged: compiled is"):
        encoder.load(bundle)


def test_an_unknown_engine(bundle):
    with pytest.raises(encoder.InputError, match=r"engine \(--engine\) is 'onnx'; expected one of"):
        encoder.load(bundle, engine="onnx")


@pytest.mark.parametrize(("gpus", "backend"), [(["NVIDIA L4"], "tensorflow"), ([], "jax")])
def test_gpus_and_jax_stay_with_keras(bundle, monkeypatch, gpus, backend):
    from encoder.compute.engines import choice

    monkeypatch.setattr(choice, "visible_gpus", lambda: gpus)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    spec, form = encoder.bundle.read_bundle(bundle)
    assert choice.choose("auto", spec, form) == "keras"
    assert choice.choose("ncnn", spec, form) == "ncnn"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_bundle_of_before_works_and_can_be_compiled(bundle, sealed, capsys):
    before = read_spec(bundle)
    without_form(bundle, sealed)
    assert encoder.load(bundle).engine.name == "keras"
    with pytest.raises(encoder.InputError, match="written without it; 'python -m encoder compile"):
        encoder.load(bundle, engine="ncnn")
    assert add_compiled_form(bundle)
    assert encoder.load(bundle).engine.name == "ncnn"
    assert read_spec(bundle) == before
    assert check_seal(bundle)
    assert_alike(bundle)


def test_it_is_compiled_once(bundle, monkeypatch):
    monkeypatch.setattr("encoder.extraction.compile_form", pytest.fail)
    assert add_compiled_form(bundle)


def test_a_bundle_whose_files_do_not_belong_together_is_not_compiled(bundle):
    without_form(bundle)
    small_network(seed=5).save(bundle / "encoder.keras")
    with pytest.raises(encoder.InputError, match="do not belong together"):
        add_compiled_form(bundle)
    assert COMPILED not in values_of(bundle)


@pytest.mark.parametrize(("size", "engine"), [(3, "ncnn"), (7, "keras")])
def test_much_work_in_large_kernels_stays_with_keras(tmp_path, size, engine):
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    model = keras.Model(image, keras.layers.Conv2D(8, size, padding="same")(x))
    made = encoder.extract(model, tmp_path, layer=-1)
    assert made.engine.name == encoder.load(tmp_path).engine.name == engine
    share = values_of(tmp_path)[COMPILED]["ncnn"]["large_kernels"]
    # The second layer has 8 channels of input, the first 3.
    expected = 0 if size == 3 else 49 * 8 / (49 * 8 + 9 * 3)
    assert share == pytest.approx(expected, abs=1e-3)
    assert encoder.load(tmp_path, engine="ncnn").engine.name == "ncnn"


def attention(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Reshape((-1, 3))(image)
    x = keras.layers.MultiHeadAttention(2, 4, name="look")(x, x)
    keras.Model(image, x).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_what_ncnn_lacks_stays_with_keras(tmp_path):
    said = []
    made = encoder.extract(attention(tmp_path), tmp_path / "b", layer="look", say=said.append)
    assert made.engine.name == "keras"
    reason = values_of(tmp_path / "b")[COMPILED]["ncnn"]["refused"]
    assert reason.startswith("layer 'look' (MultiHeadAttention)")
    assert f"engine: Keras; no compiled form for ncnn: {reason}" in said
    assert sorted(each.name for each in (tmp_path / "b").iterdir()) == [
        "encoder.json",
        "encoder.keras",
    ]
    with pytest.raises(encoder.InputError, match=r"has no compiled form: layer 'look'"):
        encoder.load(tmp_path / "b", engine="ncnn")


def test_a_form_of_another_encoder_goes_when_its_bundle_is_replaced(bundle, tmp_path):
    (bundle / "notes.txt").write_text("mine")
    encoder.extract(attention(tmp_path), bundle, layer="look", force=True)
    assert sorted(each.name for each in bundle.iterdir()) == [
        "encoder.json",
        "encoder.keras",
        "notes.txt",
    ]


def test_another_precision_stays_with_keras(small_model_file, tmp_path):
    made = encoder.extract(small_model_file, tmp_path, precision="bfloat16")
    assert made.engine.name == "keras"
    assert "computes in bfloat16" in values_of(tmp_path)[COMPILED]["ncnn"]["refused"]


def test_vectors_that_differ_stay_with_keras(bundle, monkeypatch):
    made = encoder.load(bundle, engine="keras")
    convert = compiling.convert

    def wrong(backbone):
        found = convert(backbone)
        values = np.frombuffer(found.weights, np.float32) * np.float32(1.0001)
        return found._replace(weights=values.tobytes())

    monkeypatch.setattr(compiling, "convert", wrong)
    found = compile_form(made.model, made.spec)
    assert "its vectors would differ by" in found.form.refused
    assert not found.param


def test_a_library_that_ends_its_process_ends_only_the_proof(bundle, monkeypatch):
    made = encoder.load(bundle, engine="keras")
    broken = Converted(b"7767517\n1 1\nNoSuch 0 0 1 b", b"", 0.0)
    monkeypatch.setattr(compiling, "convert", lambda backbone: broken)
    assert "its process ended with 1" in compile_form(made.model, made.spec).form.refused


def test_without_ncnn_keras_computes(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    made = encoder.load(bundle, engine="keras")
    assert "the package ncnn can't be imported" in compile_form(made.model, made.spec).form.refused
    with pytest.raises(encoder.InputError, match="--engine ncnn: the package ncnn can't be import"):
        encoder.load(bundle, engine="ncnn")
    assert encoder.load(bundle).engine.name == "keras"


def test_images_to_compare_are_of_all_kinds(bundle):
    images = images_to_compare(read_spec(bundle))
    assert images.shape == (7, 32, 32, 3)
    assert {int(each.min()) for each in images[[2, 3]]} == {0, 255}
    neighbours = [np.corrcoef(each[:-1].ravel(), each[1:].ravel())[0, 1] for each in images[5:]]
    assert min(neighbours) > 0.6  # as in photographs
    assert len({each.tobytes() for each in images}) == 7


@pytest.mark.slow
def test_vgg16_on_photographs(vgg16_bundle, tmp_path):
    """The real weights, real photographs: as close to Keras as the promise says."""
    ncnn, keras_ = (encoder.load(vgg16_bundle, engine=engine) for engine in ("ncnn", "keras"))
    files = sorted(photographs(tmp_path))[:6]
    images = np.stack([ncnn.decode(path.read_bytes()) for path in files])
    found, expected = ncnn.embed(images), keras_.embed(images)
    share = np.abs(found - expected).max(1) / np.abs(expected).max(1)
    assert share.max() < TOLERANCE
    assert SEAL in values_of(vgg16_bundle)
