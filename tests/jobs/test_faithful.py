"""The first promise: the vectors in Parquet are those that the trained network computes."""

import json
import pathlib

import keras
import numpy as np
import pyarrow.dataset as ds
import pytest

import encoder
from encoder.__main__ import main as encoder_main
from tests.support.dataset import Dataset


def assert_faithful(dataset, bundle, network, layer, preprocess):
    """Check that every vector is the average of the network's own activation at the layer."""
    enc = encoder.load(bundle)
    original = keras.Model(network.input, network.get_layer(layer).output)
    rows = ds.dataset(dataset / "embeddings").to_table().to_pylist()
    for row in rows:
        pixels = enc.decode(pathlib.Path(row["uri"]).read_bytes())
        activation = np.asarray(original(preprocess(pixels[np.newaxis].astype(np.float32))))
        expected = activation.astype(np.float64).mean((1, 2))[0]
        difference = np.abs(np.array(row["embedding"]) - expected).max()
        # float32 sums of some thousand products, whose order depends on the batch size
        assert difference <= 1e-5 * np.abs(expected).max(), row["uri"]
    return rows


def run(photos, bundle, output):
    Dataset(output, bundle).run(photos)


def test_vgg16_on_photographs(photo_folder, vgg16_bundle, vgg16_weights, tmp_path):
    run(photo_folder, vgg16_bundle, tmp_path / "out")
    network = encoder.vgg16_imagenet(vgg16_weights)
    rows = assert_faithful(
        tmp_path / "out",
        vgg16_bundle,
        network,
        "block5_pool",
        keras.applications.vgg16.preprocess_input,
    )
    assert len(rows) == 22
    assert len(rows[0]["embedding"]) == 512


@pytest.mark.parametrize(
    "name", ["trained.keras", pytest.param("trained.h5", marks=pytest.mark.long)]
)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_reference_network(photo_folder, tmp_path, name):
    keras.utils.set_random_seed(3)
    network = encoder.vgg16_encoder_decoder((200, 200, 1))
    rng = np.random.default_rng(3)
    for layer in network.layers:  # biases, and values of different sizes, as after training
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel = kernel * rng.lognormal(0, 0.5, kernel.shape)
            layer.set_weights([kernel, rng.normal(0, 0.05, bias.shape)])
    network.save(tmp_path / name)
    words = ["extract", tmp_path / name, "--output", tmp_path / "bundle", "--preprocess", "unit"]
    assert encoder_main([str(word) for word in words]) == 0
    assert json.loads((tmp_path / "bundle" / "encoder.json").read_text())["layers"] == ["pool_5"]
    few = tmp_path / "few"
    few.mkdir()
    for photo in sorted(photo_folder.iterdir())[:6]:
        (few / photo.name).symlink_to(photo)
    run(few, tmp_path / "bundle", tmp_path / "out")
    rows = assert_faithful(
        tmp_path / "out", tmp_path / "bundle", network, "pool_5", lambda pixels: pixels / 255
    )
    assert len(rows) == 6
