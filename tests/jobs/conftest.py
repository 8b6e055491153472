"""A collection that has rows already, for the tests of later runs."""

import pytest

from tests.conftest import write_image


@pytest.fixture
def collection(tmp_path, dataset):
    """Six images with rows in the dataset, in the folder p."""
    for n in range(6):
        write_image(tmp_path / "p" / f"{n}.png", n)
    dataset.run(tmp_path / "p")
    return tmp_path / "p"
