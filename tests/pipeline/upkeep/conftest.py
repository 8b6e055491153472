"""A dataset for the tests of upkeep."""

import pytest

from tests.support.damage import copy_of, make_collection


@pytest.fixture(scope="session")
def collection(small_bundle, tmp_path_factory):
    """See make_collection; (images, output), to be read only."""
    return make_collection(tmp_path_factory.mktemp("upkeep"), small_bundle)


@pytest.fixture
def output(collection, tmp_path):
    """A copy of the dataset, to be changed."""
    return copy_of(collection[1], tmp_path)
