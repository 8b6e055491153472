import dataclasses
import json

import keras
import numpy as np
import pytest

import encoder
from encoder.__main__ import main
from encoder.spec import COMPILED, SEAL, EncoderSpec, check_seal, read_spec
from tests.conftest import small_network


def test_extract_writes_what_load_reads(small_model_file, tmp_path):
    made = encoder.extract(small_model_file, tmp_path / "b", layer="pool2", preprocess="tf")
    loaded = encoder.load(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "encoder.json",
        "encoder.keras",
        "encoder.ncnn.bin",
        "encoder.ncnn.param",
    ]
    assert made.spec == loaded.spec == read_spec(tmp_path / "b")
    spec = loaded.spec
    assert (spec.layers, spec.dim, spec.slices) == (("pool2",), 16, ((0, 16),))
    assert (spec.height, spec.width, spec.channels) == (32, 32, 3)
    assert len(spec.id) == 16
    assert int(spec.id, 16) >= 0
    assert spec.max_difference < 1e-6


def test_only_the_encoders_weights_are_in_the_bundle(small_model_file, tmp_path):
    encoder.extract(small_model_file, tmp_path, layer="pool1")
    model = keras.saving.load_model(tmp_path / "encoder.keras")
    assert {layer.name for layer in model.layers if layer.weights} == {"conv1"}


def test_several_taps_have_slices(small_model_file, tmp_path):
    made = encoder.extract(small_model_file, tmp_path, layer="pool1,pool2", pooling="flatten")
    assert made.spec.slices == ((0, 16 * 16 * 8), (16 * 16 * 8, 16 * 16 * 8 + 8 * 8 * 16))


def test_gem_loads_again(small_model_file, tmp_path):
    made = encoder.extract(small_model_file, tmp_path, pooling="gem", normalize=True)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(encoder.load(tmp_path).embed(images), made.embed(images))


def test_a_network_of_any_size_needs_a_size(tmp_path):
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(x)
    model = keras.Model(inputs, x)
    with pytest.raises(encoder.InputError, match="--input-size HxW"):
        encoder.extract(model, tmp_path, layer="conv")
    made = encoder.extract(model, tmp_path, layer="conv", input_size=(40, 24))
    assert (made.spec.height, made.spec.width) == (40, 24)


def test_a_bundle_in_a_bucket(small_bundle, small_model_file, bucket):
    made = encoder.extract(small_model_file, f"{bucket}/bundles/small", preprocess="unit")
    assert made.spec.id == read_spec(small_bundle).id
    assert encoder.load(f"{bucket}/bundles/small").spec == made.spec


def test_mixed_up_files_are_noticed(small_model_file, tmp_path):
    encoder.extract(small_model_file, tmp_path)
    network = small_network(seed=5)
    encoder.extract(network, tmp_path / "other")
    (tmp_path / "other" / "encoder.keras").replace(tmp_path / "encoder.keras")
    with pytest.raises(encoder.InputError, match="do not belong together"):
        encoder.load(tmp_path)


def test_what_is_no_bundle(tmp_path):
    with pytest.raises(encoder.InputError, match=r"no encoder\.json"):
        encoder.load(tmp_path)
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(encoder.InputError, match="not the description"):
        encoder.load(tmp_path)
    (tmp_path / "encoder.json").write_text('{"format": "encoder-bundle/9"}')
    with pytest.raises(encoder.InputError, match="encoder-bundle/9"):
        encoder.load(tmp_path)


def test_a_bundle_without_its_model(small_bundle, tmp_path):
    (tmp_path / "encoder.json").write_bytes((small_bundle / "encoder.json").read_bytes())
    with pytest.raises(encoder.InputError, match=r"no encoder\.keras"):
        encoder.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "median"}, "pooling is 'median'; expected one of gap"),
        ({"decode": "quick"}, "decode is 'quick'; expected one of exact, fast"),
        ({"decode": "fast", "resize": "nearest"}, "use decode 'exact', or another resize"),
        ({"preprocess": "caffe", "channels": 1}, "defined for RGB images only"),
        ({"channels": 5}, "5 channels"),
    ],
)
def test_impossible_specs(small_bundle, change, message):
    with pytest.raises(encoder.InputError, match=message):
        dataclasses.replace(read_spec(small_bundle), **change)


def test_spec_round_trip(small_bundle):
    spec = read_spec(small_bundle)
    assert EncoderSpec.from_json(spec.to_json()) == spec
    values = json.loads(spec.to_json())
    values["new"] = 1
    del values["fit"]
    with pytest.raises(encoder.InputError, match=r"missing \['fit'\], unknown \['new'\]"):
        EncoderSpec.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", True),
        ("dim", "16"),
        ("height", None),
        ("layers", "pool2"),
        ("slices", [[1]]),
        ("background", [0, 0]),
        ("versions", {"keras": 3}),
        ("normalize", "yes"),
    ],
)
def test_a_spec_with_a_value_of_the_wrong_type(small_bundle, field, value):
    values = json.loads((small_bundle / "encoder.json").read_text())
    values[field] = value
    with pytest.raises(encoder.InputError, match=rf"encoder\.json is damaged: .*\$\.{field}"):
        EncoderSpec.from_json(json.dumps(values))


@pytest.mark.parametrize("wrong", ["", "../../x", "0123456789ABCDEF", "0123456789abcde", "a" * 17])
def test_an_id_that_is_none(small_bundle, wrong):
    """Ids become parts of paths."""
    values = json.loads((small_bundle / "encoder.json").read_text()) | {"id": wrong}
    with pytest.raises(encoder.InputError, match=r"the id is .*; expected 16 of the digits"):
        EncoderSpec.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("dim", value) for value in (0, -1, 1 << 30)),
        *(("height", value) for value in (0, 1 << 20)),
        *(("width", value) for value in (0, 1 << 20)),
        ("channels", 2),
        *(("background", value) for value in ([0, 0, 256], [-1, 0, 0])),
        ("max_difference", -1.0),
        ("layers", []),
        *(("slices", value) for value in ([], [[0, 8]], [[1, 16]], [[0, 16], [16, 16]])),
        ("pooling", "gem"),  # without gem_p
    ],
)
def test_a_spec_with_a_value_out_of_range(small_bundle, field, value):
    values = json.loads((small_bundle / "encoder.json").read_text()) | {field: value}
    name = {"pooling": "gem_p", "channels": "channels"}.get(field, field)
    with pytest.raises(encoder.InputError, match=rf"encoder\.json is damaged: .*{name}"):
        EncoderSpec.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff", b"[" * 200_000, b'{"format":' * 200_000, b'{"id": 1, "id": 2}']
)
def test_a_description_that_is_none(tmp_path, text):
    """The error names the file."""
    (tmp_path / "encoder.json").write_bytes(text)
    with pytest.raises(encoder.InputError, match=rf"^{tmp_path}/encoder\.json is not the desc"):
        read_spec(tmp_path)


def test_a_description_that_is_too_large(tmp_path):
    with (tmp_path / "encoder.json").open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(encoder.InputError, match=r"it has 4,294,967,296 bytes"):
        read_spec(tmp_path)


def test_a_seal_covers_both_files(small_bundle, tmp_path):
    assert check_seal(small_bundle)
    description = json.loads((small_bundle / "encoder.json").read_text())
    model = (small_bundle / "encoder.keras").read_bytes()

    def check(values, data):
        (tmp_path / "encoder.json").write_text(json.dumps(values))
        (tmp_path / "encoder.keras").write_bytes(data)
        return check_seal(tmp_path)

    assert check(dict(reversed(description.items())), model)
    with pytest.raises(encoder.InputError, match="do not belong together"):
        check(description, model[:-1])
    with pytest.raises(encoder.InputError, match="do not belong together"):
        check({**description, "resize": "box"}, model)
    with pytest.raises(encoder.InputError, match=r"files_sha256 is 'x'; expected 64 hex digits"):
        check({**description, SEAL: "x"}, model)
    del description[SEAL]
    assert not check(description, model[:-1])  # a bundle of an early version


def test_a_spec_that_says_1_for_true_keeps_its_id(small_bundle):
    values = json.loads((small_bundle / "encoder.json").read_text())
    del values[SEAL], values[COMPILED]
    text = json.dumps({**values, "normalize": 1, "pooling": "gem", "gem_p": 3})
    spec = EncoderSpec.from_json(text)
    assert json.loads(spec.to_json()) == json.loads(text)
    settings = json.dumps(spec.vector_settings())
    assert '"normalize": 1' in settings
    assert '"gem_p": 3,' in settings


def test_numpy_values_and_integers_as_options(small_model_file, tmp_path):
    plain = encoder.extract(small_model_file, tmp_path / "a", normalize=True, background=(1, 2, 3))
    numpy = encoder.extract(
        small_model_file, tmp_path / "b", normalize=np.True_, background=np.array([1, 2, 3])
    )
    assert numpy.spec == plain.spec == read_spec(tmp_path / "b")


@pytest.mark.parametrize("background", [(0, 0), (0, 0, 256), (0.5, 0, 0), "red", None])
def test_a_background_that_is_no_colour(small_model_file, tmp_path, background):
    with pytest.raises(encoder.InputError, match="expected three whole numbers, 0 to 255"):
        encoder.extract(small_model_file, tmp_path / "b", background=background)
    assert not (tmp_path / "b").exists()


def test_bundles_that_do_not_name_their_decoding_are_exact(small_bundle, tmp_path):
    values = json.loads((small_bundle / "encoder.json").read_text())
    assert values.pop("decode") == "exact"
    (tmp_path / "encoder.json").write_text(json.dumps(values))
    (tmp_path / "encoder.keras").write_bytes((small_bundle / "encoder.keras").read_bytes())
    assert encoder.load(tmp_path).spec == read_spec(small_bundle)


def test_decoding_is_part_of_the_id_unless_it_is_exact(small_model_file, small_bundle, tmp_path):
    exact = read_spec(small_bundle)
    assert "decode" not in exact.vector_settings()  # keeps older ids valid
    fast = encoder.extract(small_model_file, tmp_path, preprocess="unit", decode="fast").spec
    assert fast.vector_settings() == {**exact.vector_settings(), "decode": "fast"}
    assert fast.id != exact.id
    assert encoder.load(tmp_path).spec == fast


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.02), ("float16", 0.002)])
def test_precision(small_model_file, tmp_path, precision, tolerance):
    """Layers compute in 16 bits (8 or 11 of them significant), embeddings are float32."""
    options = {"preprocess": "unit", "layer": "pool2"}
    exact = encoder.extract(small_model_file, tmp_path / "a", **options)
    made = encoder.extract(small_model_file, tmp_path / "b", precision=precision, **options)
    assert made.model.get_layer("conv1").compute_dtype == precision
    assert made.model.get_layer("embedding_pool_1").compute_dtype == "float32"
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    vectors, expected = made.embed(images), exact.embed(images)
    assert vectors.dtype == np.float32
    difference = np.abs(vectors - expected).max() / np.abs(expected).max()
    assert 0 < difference < tolerance
    assert made.spec.id != exact.spec.id
    assert encoder.load(tmp_path / "b").spec == made.spec


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """Files of two networks of the same layers with other weights."""
    folder = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        small_network(seed=seed).save(folder / f"{seed}.keras")
    return folder / "1.keras", folder / "2.keras"


def test_the_bundle_of_another_encoder_stays_without_force(two_models, tmp_path, capsys):
    first = encoder.extract(two_models[0], tmp_path).spec
    (tmp_path / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["extract", str(two_models[1]), "--output", str(tmp_path)]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert f"holds the bundle of encoder {first.id}, made from '{two_models[0]}' at pool2;" in err
    assert "replace it with --force" in err
    with pytest.raises(encoder.InputError, match="another folder"):
        encoder.extract(two_models[0], tmp_path, preprocess="unit")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert main([*words, "--force"]) == 0
    assert f"replaced in '{tmp_path}': the bundle of encoder {first.id}" in capsys.readouterr().out
    assert encoder.load(tmp_path).spec.source == str(two_models[1])
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_same_encoder_is_written_again(two_models, tmp_path):
    made = encoder.extract(two_models[0], tmp_path).spec
    (tmp_path / "encoder.keras").write_bytes(b"damaged")
    said = []
    assert encoder.extract(two_models[0], tmp_path, say=said.append).spec == made
    assert any("held this encoder already" in text for text in said)
    assert encoder.load(tmp_path).spec == made


@pytest.mark.parametrize("name", ["encoder.keras", "encoder.json"])
def test_half_a_bundle_stays_without_force(two_models, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(encoder.InputError, match=rf"holds {name}, no whole bundle .*--force"):
        encoder.extract(two_models[0], tmp_path)
    assert (tmp_path / name).read_text() == "{}"
    encoder.extract(two_models[0], tmp_path, force=True)
    encoder.load(tmp_path)


def test_a_bundle_in_a_bucket_stays_without_force(two_models, gcs):
    encoder.extract(two_models[0], "gs://bucket/b")
    with pytest.raises(encoder.InputError, match="gs://bucket/b' holds the bundle of encoder"):
        encoder.extract(two_models[1], "gs://bucket/b")
