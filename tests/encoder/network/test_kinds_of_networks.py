"""Every kind of network: auto finds the right layer, and the bundle computes its output."""

import keras
import numpy as np
import pytest

import encoder
from encoder.network.backbones import inside, recognize
from encoder.network.cut import Recipe, check_cut, cut_encoder
from encoder.network.graph import trace
from tests.support import networks
from tests.support.networks import EXPECTED

pytestmark = pytest.mark.slow

CASES = pytest.mark.parametrize("network", EXPECTED, ids=lambda network: network.__name__)


def images(count=3, size=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)


def make(network, seed=1):
    keras.utils.set_random_seed(seed)
    return network()


@CASES
def test_auto_bundle_and_proof(network, tmp_path):
    model = make(network)
    size = (32, 32) if network is networks.any_size else None
    made = encoder.extract(model, tmp_path / "b", preprocess="unit", input_size=size)
    (layer,) = made.spec.layers
    expected = EXPECTED[network]
    assert layer == expected or layer.endswith(f"/{expected}")
    assert made.spec.max_difference < 3e-6
    # Compares the bundle with the original in another way than check_cut: with Keras' own
    # sub-model if the layer is at the top level, else by recording the layer's output again.
    pixels = images()
    cut = cut_encoder(model, Recipe(input_size=size))
    check_cut(cut, pixels.astype(np.float32) / 255)
    vectors = made.embed(pixels)
    if "/" not in layer:
        direct = keras.Model(model.inputs[0], model.get_layer(layer).output)
        expected_map = np.asarray(direct(pixels.astype(np.float32) / 255, training=False))
        expected_vectors = expected_map.mean((1, 2))
        np.testing.assert_allclose(vectors, expected_vectors, atol=1e-5 * abs(vectors).max())
    assert encoder.load(tmp_path / "b").spec == made.spec


@CASES
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_saved_and_loaded_it_is_the_same_encoder(network, name, tmp_path):
    model = make(network)
    model.save(tmp_path / name)
    options = {"input_size": (32, 32)} if network is networks.any_size else {}
    direct = encoder.extract(model, tmp_path / "a", **options).spec
    loaded = encoder.extract(tmp_path / name, tmp_path / "b", **options).spec
    assert (loaded.id, loaded.layers) == (direct.id, direct.layers)


@pytest.mark.parametrize("policy", ["float64", "mixed_float16", "mixed_bfloat16", "float16"])
def test_networks_of_other_dtypes(policy, tmp_path):
    """The cut is checked in the network's own dtype. Embeddings are always float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = make(networks.unet)
    finally:
        keras.config.set_dtype_policy(before)
    made = encoder.extract(model, tmp_path, preprocess="unit")
    assert made.spec.max_difference < 1e-5
    assert made.embed(images()).dtype == np.float32
    assert made.spec.id != encoder.extract(make(networks.unet), tmp_path / "b").spec.id


@CASES
def test_describing_it(network, capsys):
    from encoder.cli.inspection import describe, print_description

    description = describe(make(network))
    taps = [row["name"] for row in description["layers"] if row["role"] == "tap"]
    assert taps == [description["auto"]["layer"]]
    before = [row["role"] for row in description["layers"]]
    assert before[0] == "input"
    assert "cut off" in before
    print_description(description)
    assert "auto: " in capsys.readouterr().out


def test_indices_inside_and_outside_of_nested_models():
    model = make(networks.backbone_and_head)
    assert [layer.name for layer in model.layers][1] == "backbone"
    for layer in ("backbone", 1, -3, "backbone/pool2", "pool2"):
        cut = encoder.get_encoder(model, layer=layer)
        assert cut.output_shape == (None, 8)
    assert encoder.get_encoder(model, layer="conv1").output_shape == (None, 4)


def test_layers_of_one_name_in_two_backbones():
    model = make(networks.two_backbones_of_the_same_names)
    with pytest.raises(encoder.InputError, match=r"one/pool2, two/pool2; name one"):
        encoder.get_encoder(model, layer="pool2")
    one, two = (encoder.get_encoder(model, layer=f"{side}/pool2") for side in ("one", "two"))
    batch = images().astype(np.float32)
    assert np.abs(np.asarray(one(batch)) - np.asarray(two(batch))).max() > 0.1
    cut = cut_encoder(model, Recipe("one/pool2,two/pool2"))
    check_cut(cut, batch)
    assert cut.model.output_shape == (None, 16)


def test_uses_of_a_shared_layer():
    model = make(networks.shared_layer)
    with pytest.raises(encoder.InputError, match="again:1, again:2, again:3"):
        encoder.get_encoder(model, layer="again")
    batch = images().astype(np.float32) / 255
    vectors = []
    for use in (1, 2, 3):
        cut = cut_encoder(model, Recipe(f"again:{use}"))
        check_cut(cut, batch)
        vectors.append(np.asarray(cut.model(batch)))
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(vectors[1] - vectors[2]).max() > 1e-3


@pytest.mark.parametrize("name", ["left", "right"])
def test_one_of_several_inputs(name, tmp_path):
    model = make(networks.siamese)
    made = encoder.extract(model, tmp_path, layer="pool2", input_name=name, preprocess="none")
    assert made.spec.layers == ("tower/pool2",)
    tower = np.asarray(model.get_layer("tower")(images().astype(np.float32))).mean((1, 2))
    np.testing.assert_allclose(made.embed(images()), tower, atol=1e-5 * tower.max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"3 inputs \(left .*, right .*, numbers .*--input NAME"),
        ({"input_name": "middle"}, "no input 'middle'"),
        ({"input_name": "numbers"}, r"shape \(None, 4\); expected images"),
        ({"input_name": "left", "layer": "joined"}, "does not depend on the input 'left' alone"),
    ],
)
def test_inputs_that_can_not_be_told(options, message):
    with pytest.raises(encoder.InputError, match=message):
        encoder.get_encoder(make(networks.siamese), **options)


def test_a_subclassed_model_is_explained():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = keras.layers.Conv2D(4, 3)

        def call(self, inputs):
            return self.conv(inputs)

    model = Own()
    model(images().astype(np.float32))
    with pytest.raises(encoder.InputError, match=r"subclass of keras\.Model.*functional"):
        encoder.get_encoder(model)


@pytest.mark.parametrize(
    ("network", "within"),
    [
        (networks.rescaling_inside, ["scale"]),
        (networks.backbone_and_head, []),
    ],
)
def test_preprocessing_inside(network, within):
    graph = trace(make(network))
    assert inside(graph) == within
    found = recognize(graph)
    assert found.mode == "none"
    assert ("that stays in" in found.reason) == bool(within)


def test_operations_of_preprocess_input_stay_in():
    graph = trace(make(networks.preprocess_input_inside))
    assert len(inside(graph)) >= 3
    cut = cut_encoder(make(networks.preprocess_input_inside), Recipe("conv1"))
    batch = images().astype(np.float32)
    bare = cut_encoder(make(networks.backbone_and_head), Recipe("conv1"))
    prepared = keras.applications.vgg16.preprocess_input(batch.copy())
    np.testing.assert_allclose(cut.model(batch), bare.model(prepared), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("VGG16", "caffe"),
        ("VGG19", "caffe"),
        ("ResNet50", "caffe"),
        ("ResNet50V2", "tf"),
        ("MobileNet", "tf"),
        ("MobileNetV2", "tf"),
        ("DenseNet121", "torch"),
        ("Xception", "tf"),
        ("InceptionV3", "tf"),
        ("NASNetMobile", "tf"),
        ("EfficientNetB0", "none"),
        ("MobileNetV3Small", "none"),
    ],
)
def test_backbones_of_keras_applications_are_recognised(name, mode):
    model = getattr(keras.applications, name)(weights=None)
    assert recognize(trace(model)).mode == mode


def test_a_recognised_mode_is_used_and_said(tmp_path):
    body = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(body(inputs))))
    said = []
    made = encoder.extract(model, tmp_path, say=said.append)
    assert made.spec.preprocess == "caffe"
    assert any("preprocess caffe" in text and "VGG16" in text for text in said)
    made = encoder.extract(model, tmp_path, preprocess="tf", force=True)
    assert made.spec.preprocess == "tf"


def test_the_four_answers_to_the_question():
    """layers[14] with GAP, layers[-20], conv1 to pool5 by name, F1 ... F5 flattened."""
    model = encoder.vgg16_encoder_decoder((32, 32, 1))
    batch = images(channels=1).astype(np.float32) / 255
    inner = {
        layer: np.asarray(keras.Model(model.input, layer.output)(batch)) for layer in model.layers
    }
    for layer in (14, -20, "pool_5"):
        tapped = model.get_layer(layer) if isinstance(layer, str) else model.layers[layer]
        expected = inner[tapped].mean((1, 2))
        found = np.asarray(encoder.get_encoder(model, layer=layer, pooling="gap")(batch))
        np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())
    names = [f"pool_{number}" for number in range(1, 6)]
    flat = [inner[model.get_layer(name)].reshape(len(batch), -1) for name in names]
    found = encoder.get_encoder(model, layer=",".join(names), pooling="flatten")(batch)
    np.testing.assert_allclose(found, np.concatenate(flat, 1), atol=1e-6)
