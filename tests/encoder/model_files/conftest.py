"""Files of Keras 2 are converted by one process for all tests, which saves the imports."""

import pytest

from tests.support.converters import Converters


@pytest.fixture(scope="session")
def converters():
    """Started by the first test that converts a file."""
    made = Converters()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def quick_conversions(request, converters):
    """Tests marked with own_process start the converter as ``extract`` does."""
    if request.node.get_closest_marker("own_process"):
        yield
        return
    with converters.in_use():
        yield
