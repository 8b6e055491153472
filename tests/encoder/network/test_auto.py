"""What auto takes where the last feature map is not the end of an encoder."""

import re

import keras
import numpy as np
import pytest

import encoder
from encoder.network.graph import trace
from encoder.network.taps import find_taps, short_vectors
from tests.support import answers
from tests.support.answers import EXPECTED


def auto(model):
    (tap,) = find_taps(trace(model), "auto")
    return tap


@pytest.mark.parametrize("network", EXPECTED, ids=lambda network: network.__name__)
def test_auto(network):
    assert auto(network()).step.name.rstrip("_0123456789") == EXPECTED[network]


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (answers.all_cnn, r"features \(16x16x24\) is the last feature map before scores"),
        (answers.transformer, r"features \(16x8\) is the last sequence of tokens; most layers"),
        (answers.transformer_class_token, r"\(8\) is the token that the answer is computed from"),
        (answers.split_channels, "is the last feature map of a network that never widens"),
    ],
)
def test_the_reason(network, reason):
    model = network()
    assert re.search(reason, auto(model).reason)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            answers.denoiser,
            r"keeps its input's size and gives an image; auto can't tell which layer ends the "
            r"encoder; candidates: first \(32, 32, 8\), second \(32, 32, 8\). Name one with",
        ),
        (lambda: answers.denoiser(any_size=True), r"candidates: first \(None, None, 8\), second"),
        (answers.restoration, r"candidates: first \(32, 32, 8\), second \(32, 32, 4\). Name"),
        (answers.transformer_two_tokens, r"features \(16, 8\), get_item\w* \(8,\), get_item\w* "),
        (answers.perceptron, r"candidates: first \(16,\), second \(12,\). Name one"),
    ],
)
def test_candidates_where_no_layer_ends_an_encoder(network, message):
    with pytest.raises(encoder.InputError, match=message):
        auto(network())


@pytest.mark.parametrize("network", [answers.transformer_class_token, answers.all_cnn])
def test_its_vectors_are_what_the_network_computes(network, tmp_path):
    keras.utils.set_random_seed(1)
    model = network()
    model.save(tmp_path / "m.keras")
    made = encoder.extract(tmp_path / "m.keras", tmp_path / "b", preprocess="unit")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    step = auto(model).step
    expected = np.asarray(keras.Model(model.input, step.output)(pixels.astype("float32") / 255))
    while expected.ndim > 2:
        expected = expected.mean(-2)
    np.testing.assert_allclose(made.embed(pixels), expected, atol=1e-5 * abs(expected).max())


def test_short_vectors_are_a_warning(tmp_path):
    said = []
    encoder.extract(answers.all_cnn(), tmp_path, layer="scores", preprocess="unit", say=said.append)
    (warning,) = [text for text in said if text.startswith("warning: ")]
    assert "embeddings of 10 values tell few images apart, and scores gives no more" in warning
    assert "--layer" in warning
    assert warning.endswith("or keep all positions with --pooling flatten")
    said.clear()
    options = {"pooling": "flatten", "preprocess": "unit", "say": said.append}
    encoder.extract(answers.all_cnn(), tmp_path / "b", layer="scores", **options)
    assert not any("warning" in text for text in said)


def test_short_vectors_of_one_value_and_of_a_layer_without_positions():
    model = answers.patch_discriminator()
    taps = find_taps(trace(model), "-1")
    assert "embeddings of 1 value tell" in short_vectors(taps, 1)
    taps = find_taps(trace(answers.transformer()), "-1")
    assert "--pooling" not in short_vectors(taps, 3)
    assert not short_vectors(taps, 11)


def test_inspect_shows_the_warning():
    from encoder.cli.inspection import describe

    reason = describe(answers.one_layer_of_scores())["auto"]["reason"]
    assert "embeddings of 2 values tell few images apart" in reason
