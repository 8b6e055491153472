"""Bits that don't depend on what else is computed, with the convolutions of a real network."""

import keras
import numpy as np
import pytest

import encoder
from encoder import runtime


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    return encoder.extract(model, tmp_path_factory.mktemp("vgg16"))


@pytest.fixture(scope="module")
def images():
    # In Eigen's convolutions, the last rows of the last image of two or eight came out differently.
    return np.random.default_rng(1).integers(0, 256, (11, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def vectors(vgg16, images):
    made = vgg16.embed(images, 8)
    assert made.std() > 0
    return made


@pytest.mark.parametrize("batch_size", [9, 32])
def test_the_size_of_batches_does_not_matter(vgg16, images, vectors, batch_size):
    np.testing.assert_array_equal(vgg16.embed(images, batch_size), vectors)


@pytest.mark.parametrize("order", [[10], [7, 0], [*range(10, -1, -1)], [3, 3, 9]])
def test_company_and_place_do_not_matter(vgg16, images, vectors, order):
    np.testing.assert_array_equal(vgg16.embed(images[order], 8), vectors[order])


def test_calls_have_one_size(small_bundle, monkeypatch):
    made, sizes = encoder.load(small_bundle), []
    compute = made._compute
    monkeypatch.setattr(made, "_compute", lambda call: (sizes.append(len(call)), compute(call))[1])
    monkeypatch.setattr(made, "_most", 4)
    spec = made.spec
    images = np.zeros((9, spec.height, spec.width, spec.channels), np.uint8)
    assert made.embed(images, 32).shape == (9, spec.dim)
    assert made.embed(images, 3).shape == (9, spec.dim)
    assert made.embed(images).shape == (9, spec.dim)
    assert made.embed(images[:0], 4).shape == (0, spec.dim)
    assert sizes == [4, 4, 4, 3, 3, 3, 4, 4, 1]


def test_a_cpu_computes_few_images_at_once(small_bundle):
    assert encoder.load(small_bundle)._most == runtime.CPU_CALL
