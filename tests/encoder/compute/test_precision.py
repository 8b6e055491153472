"""Vectors of 16-bit layers against float32, with ImageNet weights on real photographs."""

import numpy as np
import pytest

import encoder

pytestmark = pytest.mark.slow

PHOTOS = 8


@pytest.fixture(scope="module")
def pixels(vgg16_bundle, photo_folder):
    exact = encoder.load(vgg16_bundle)
    return np.stack([exact.decode(p.read_bytes()) for p in sorted(photo_folder.iterdir())[:PHOTOS]])


@pytest.fixture(scope="module")
def vectors(vgg16_bundle, pixels):
    return encoder.load(vgg16_bundle).embed(pixels)


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.long)])
def test_vectors_point_the_same_way(vgg16_weights, pixels, vectors, tmp_path, precision):
    network = encoder.vgg16_imagenet(vgg16_weights)
    options = {"layer": "block5_pool", "preprocess": "caffe", "precision": precision}
    found = encoder.extract(network, tmp_path, **options).embed(pixels)
    assert found.dtype == np.float32
    assert not np.array_equal(found, vectors)  # the precision was really another one
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(vectors, axis=1)
    assert ((found * vectors).sum(1) / lengths).min() >= 0.999
