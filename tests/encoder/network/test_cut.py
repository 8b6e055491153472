import keras
import numpy as np
import pytest

import encoder
from encoder.network.cut import Recipe, check_cut, cut_encoder
from tests.conftest import small_network


def batch(shape=(3, 32, 32, 3)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_get_encoder_is_the_layer_averaged():
    model, images = small_network(), batch()
    activation = keras.Model(model.input, model.get_layer("pool2").output)
    expected = np.asarray(activation(images)).mean((1, 2))
    cut = encoder.get_encoder(model, layer="pool2")
    assert cut.output_shape == (None, 16)
    np.testing.assert_allclose(cut(images), expected, atol=1e-6)  # order of sums in float32


@pytest.mark.parametrize("pooling", ["gap", "max", "gem", "flatten"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layer", ["pool2", "pool1,pool2", "up"])
def test_every_pooling_passes_the_check(pooling, normalize, layer):
    model = small_network()
    cut = cut_encoder(model, Recipe(layer, pooling, normalize))
    assert check_cut(cut, batch()) < 3e-6  # sums over 1,024 values
    if normalize:
        lengths = np.linalg.norm(cut.model(batch()), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_wrong_cut_is_found():
    model = small_network()
    mixed = cut_encoder(model, Recipe("pool2"))._replace(
        model=cut_encoder(small_network(seed=2), Recipe("pool2")).model
    )
    with pytest.raises(encoder.CutMismatchError, match="pool2 differs from the original"):
        check_cut(mixed, batch())


def test_a_network_that_gives_nan_is_found():
    model = small_network()
    kernel, bias = model.get_layer("conv2").get_weights()
    model.get_layer("conv2").set_weights([kernel, bias * np.nan])
    with pytest.raises(encoder.CutMismatchError, match="48 are not finite"):
        check_cut(cut_encoder(model, Recipe("pool2")), batch())


def test_the_check_leaves_the_model_as_it_was():
    model = small_network()
    check_cut(cut_encoder(model, Recipe("pool2")), batch())
    assert "call" not in vars(model.get_layer("pool2"))


@pytest.mark.parametrize("p", [0, -1, 100, float("nan")])
def test_exponents_that_make_no_sense(p):
    with pytest.raises(encoder.InputError, match="gem_p"):
        encoder.get_encoder(small_network(), pooling="gem", gem_p=p)


def test_the_input_is_no_tap():
    with pytest.raises(encoder.InputError, match="is the input itself"):
        encoder.get_encoder(small_network(), layer=0)


def test_nested_backbone():
    backbone = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(backbone(inputs)))
    model = keras.Model(inputs, outputs)
    cut = cut_encoder(model, Recipe())
    assert cut.taps[0].step.name == "vgg16/block5_pool"
    assert check_cut(cut, batch()) < 1e-6


def test_a_layer_that_computes_in_whole_numbers_is_refused():
    """Compiled, it rounds its input first; the proof, which calls it, would not show that."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Discretization([0.2, 0.5], dtype="int64", name="bins")(x)
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(x))
    with pytest.raises(encoder.InputError, match=r"'bins' \(Discretization\) computes in int64"):
        encoder.get_encoder(model, -1)


def test_means_that_are_near_zero(tmp_path):
    """The proof's measure is the size of the values, which sums in float32 depend on."""
    inputs = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(1, 1, kernel_initializer="ones", use_bias=False)(inputs)
    model = keras.Model(inputs, keras.layers.LayerNormalization(axis=[1, 2])(x))
    assert encoder.extract(model, tmp_path / "b", layer=-1).spec.max_difference < 1e-6


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_tap_at_a_layer_whose_weights_were_quantized():
    """Keras calls quantized_call of such a layer, not call."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(12, name="small")(inputs))
    model.quantize("int8")
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    assert check_cut(cut_encoder(model, Recipe("small")), images) < 1e-5
