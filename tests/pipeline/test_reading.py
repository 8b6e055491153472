import hashlib
import threading
import time

import pytest

from encoder.spec import read_spec
from pipeline import reading
from pipeline.reading import ReadAhead, read_image
from pipeline.records import Decoded, Failure, Image, Todo, Touched
from tests.conftest import write_image


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle)


def todo(path, **changes):
    return Todo(Image(str(path), "v1", 1, **changes))


def test_an_image(tmp_path, spec):
    path = write_image(tmp_path / "a.png", 1, size=(40, 30))
    decoded = read_image(todo(path), spec)
    assert isinstance(decoded, Decoded)
    assert decoded.pixels.shape == (32, 32, 3)
    assert (decoded.width, decoded.height, decoded.bytes) == (40, 30, path.stat().st_size)
    assert decoded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # The version is that of the moment of reading: the file may have changed since the listing.
    assert decoded.version == f"{path.stat().st_mtime_ns}-{path.stat().st_size}"


def test_known_content_is_not_decoded(tmp_path, spec):
    path = tmp_path / "a.png"
    path.write_bytes(b"not even an image")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    outcome = read_image(Todo(Image(str(path), "v2", 17), "changed", "part", sha256), spec)
    assert isinstance(outcome, Touched)
    assert (outcome.old_part, outcome.uri, outcome.counted) == ("part", str(path), "changed")


@pytest.mark.parametrize(
    ("content", "stage", "error"),
    [
        (None, "read", "FileNotFoundError"),
        (b"", "decode", "UnidentifiedImageError"),
        (b"text", "decode", "UnidentifiedImageError"),
    ],
)
def test_failures(tmp_path, spec, content, stage, error):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    outcome = read_image(todo(path), spec)
    assert isinstance(outcome, Failure)
    assert (outcome.uri, outcome.stage, outcome.error) == (str(path), stage, error)
    assert outcome.message
    assert "\n" not in outcome.message


def test_a_listing_error_is_passed_on(spec):
    outcome = read_image(todo("/x.jpg", error="broken link"), spec)
    assert (outcome.stage, outcome.message) == ("list", "broken link")


def test_ahead_keeps_order_and_bounds_the_window(spec, monkeypatch):
    started = []
    release = threading.Event()

    def slow(item, _):
        started.append(item)
        release.wait(10)
        return item

    monkeypatch.setattr(reading, "read_image", slow)
    ahead = ReadAhead(spec, window=4, threads=8)
    for number in range(4):
        assert list(ahead.put(number)) == []
    deadline = time.monotonic() + 10
    while len(started) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(started) == [0, 1, 2, 3]
    release.set()
    assert list(ahead.put(4)) == [0]
    assert list(ahead.drain()) == [1, 2, 3, 4]
    ahead.close()
