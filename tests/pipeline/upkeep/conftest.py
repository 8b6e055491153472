"""A dataset for the tests of upkeep."""

import pytest

from tests.support.damage import copy_of, make_collection


@pytest.fixture(scope="session")
def collection(small_bundle, tmp_path_factory):
    """The folders (images, output) of make_collection. Tests must not change them."""
    return make_collection(tmp_path_factory.mktemp("upkeep"), small_bundle)


@pytest.fixture
def output(collection, tmp_path):
    """A copy of the dataset, which tests may change."""
    return copy_of(collection[1], tmp_path)
