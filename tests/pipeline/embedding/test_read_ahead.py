import contextlib
import hashlib
import io
import itertools
import os
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image as PillowImage

from encoder.images.limits import Limits
from encoder.spec import read_spec
from encoder.storage.local import LocalStore
from pipeline.dataset.known_vectors import Buckets, KnownVectors, Place
from pipeline.embedding import read_ahead as reading
from pipeline.embedding.budget import Budget
from pipeline.embedding.decode import Hashed, Reading
from pipeline.embedding.read_ahead import ReadAhead
from pipeline.errors import JobError
from pipeline.inputs.archives import base as archives
from pipeline.inputs.archives.registry import index_archive
from pipeline.records import Decoded, Failure, Image, OldRow, Todo, Touched
from tests.conftest import write_image
from tests.support.image_files import endless_gif


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle)


@pytest.fixture
def outcome(spec):
    """The result of reading one image."""

    def read(todo, **settings):
        ahead = ReadAhead(Reading(spec, **settings), window=4)
        try:
            found = [*ahead.put(todo), *ahead.drain()]
        finally:
            ahead.close()
        (one,) = found
        return one

    return read


def todo(path, bytes=1, **changes):
    return Todo(Image(str(path), "v1", bytes, **changes))


def test_an_image(tmp_path, outcome):
    path = write_image(tmp_path / "a.png", 1, size=(40, 30))
    decoded = outcome(todo(path))
    assert isinstance(decoded, Decoded)
    assert decoded.pixels.shape == (32, 32, 3)
    assert (decoded.width, decoded.height, decoded.bytes) == (40, 30, path.stat().st_size)
    assert decoded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # The version is that of the file that was read. It may have changed since the listing.
    assert decoded.version == f"{path.stat().st_mtime_ns}-{path.stat().st_size}"


def test_known_content_is_not_decoded(tmp_path, outcome):
    path = tmp_path / "a.png"
    path.write_bytes(b"not even an image")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    found = outcome(Todo(Image(str(path), "v2", 17), "changed", OldRow("part", sha256)))
    assert isinstance(found, Touched)
    assert (found.old_part, found.uri, found.counted) == ("part", str(path), "changed")


@pytest.mark.parametrize(
    ("content", "stage", "error"),
    [
        (None, "read", "FileNotFoundError"),
        (b"", "decode", "UnidentifiedImageError"),
        (b"text", "decode", "UnidentifiedImageError"),
    ],
)
def test_failures(tmp_path, outcome, content, stage, error):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    found = outcome(todo(path))
    assert isinstance(found, Failure)
    assert (found.uri, found.stage, found.error) == (str(path), stage, error)
    assert found.message
    assert "\n" not in found.message


def test_a_listing_error_is_passed_on(outcome):
    found = outcome(todo("/x.jpg", error="broken link"))
    assert (found.stage, found.error, found.message) == ("list", "ListError", "broken link")


def test_what_is_too_large_is_a_failure_that_says_so(tmp_path, outcome):
    path = write_image(tmp_path / "a.png", 1)
    found = outcome(todo(path), max_bytes=100)
    assert (found.stage, found.error) == ("decode", "TooLargeError")
    assert "more than --max-bytes 100 allows" in found.message
    found = outcome(todo(path), limits=Limits(max_pixels=1199))
    assert found.stage == "decode"
    assert "--max-pixels" in found.message
    assert isinstance(outcome(todo(path), limits=Limits(max_pixels=1200)), Decoded)


def test_a_sparse_file_is_not_read(tmp_path, outcome):
    path = tmp_path / "huge.jpg"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert outcome(todo(path)).error == "TooLargeError"


def test_a_file_that_grows_while_it_is_read(tmp_path, outcome, monkeypatch):
    path = write_image(tmp_path / "a.png", 1)
    fstat = os.fstat

    def growing(descriptor):
        with path.open("ab") as file:
            file.write(b"more")
        return fstat(descriptor)

    monkeypatch.setattr("encoder.storage.local.os.fstat", growing)
    found = outcome(todo(path))
    assert (found.stage, found.error) == ("read", "ChangedError")


def test_one_that_takes_long_holds_up_nothing_within_the_window(spec, monkeypatch):
    started = []
    release = threading.Event()

    def read(self, flight, watch, item):
        started.append(item)
        if item == 0:
            release.wait(10)
        flight.land(item)

    monkeypatch.setattr(ReadAhead, "_read_file", read)
    ahead = ReadAhead(Reading(spec, reads=2), window=2)
    for number in range(4):
        assert list(ahead.put(number)) == []
    assert [*ahead.put(4), *ahead.put(5), *ahead.put(6)] == [1, 2, 3]
    release.set()
    assert sorted(ahead.drain()) == [0, 4, 5, 6]
    assert sorted(started) == list(range(7))
    ahead.close()


def test_so_many_are_read_at_the_same_time(spec, monkeypatch):
    now, most, lock = [0], [0], threading.Lock()

    def read(self, flight, watch, item):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        flight.land(item)

    monkeypatch.setattr(ReadAhead, "_read_file", read)
    ahead = ReadAhead(Reading(spec, reads=5), window=40)
    found = [each for number in range(30) for each in ahead.put(number)]
    assert sorted([*found, *ahead.drain()]) == list(range(30))
    ahead.close()
    assert most[0] == 5


def test_an_unforeseen_error_reaches_the_caller(spec, monkeypatch):
    def read(self, flight, watch, item):
        raise ZeroDivisionError

    monkeypatch.setattr(ReadAhead, "_read_file", read)
    ahead = ReadAhead(Reading(spec), window=4)
    with pytest.raises(ZeroDivisionError):
        list(itertools.chain(ahead.put(0), ahead.drain()))
    ahead.close()


def test_a_store_that_is_silent_for_long_ends_the_job(tmp_path, spec, monkeypatch):
    def silent(path):
        raise TimeoutError(f"{path}: given up")

    ahead = ReadAhead(Reading(spec, reads=2), window=2)
    monkeypatch.setattr(reading, "store_for", silent)
    some = [each for n in range(4) for each in ahead.put(todo(f"/{n}.jpg"))]
    assert {each.error for each in [*some, *ahead.drain()]} == {"TimeoutError"}
    with pytest.raises(JobError, match=r"5 requests in a row were given up.*start the run again"):
        list(itertools.chain(ahead.put(todo("/4.jpg")), ahead.drain()))
    ahead.close()


def packed(tmp_path, count, size=(40, 30)):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for seed in range(count):
            archive.add(write_image(tmp_path / "src" / f"{seed}.png", seed, size), f"{seed}.png")
    version = f"{path.stat().st_mtime_ns}-{path.stat().st_size}"
    archive = Image(str(path), version, 0)
    return path, [
        Todo(Image(f"{path}#{m.name}", version, m.bytes, archive=str(path), place=m.place))
        for m in index_archive(archive, Reading(None).packing)
    ]


def test_a_segment_is_read_in_bounded_memory(tmp_path, spec, monkeypatch):
    monkeypatch.setattr(reading, "BYTES_HELD", 4000)  # one or two of the files
    monkeypatch.setattr(reading, "PIXELS_PER_CORE", 1)
    _, todos = packed(tmp_path, 50)
    ahead = ReadAhead(Reading(spec), window=4)
    found = [*ahead.put_segment(todos), *ahead.put(todo("/none")), *ahead.drain()]
    ahead.close()
    by_uri = {each.uri: each for each in found}
    assert sorted(by_uri) == sorted(["/none", *(each.image.uri for each in todos)])
    assert isinstance(by_uri.pop("/none"), Failure)
    assert all(isinstance(each, Decoded) for each in by_uri.values())
    expected = PillowImage.open(tmp_path / "src" / "7.png").resize((32, 32), 2)
    pixels = by_uri[todos[7].image.uri].pixels
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_decoding_is_admitted_by_pixels_and_not_by_count(tmp_path, spec, monkeypatch):
    """On eight cores with large and small images, the pixels in memory stay within the limit."""
    now, most, lock = [0], [0], threading.Lock()
    hold = Budget.hold

    @contextlib.contextmanager
    def counting(self, pixels):
        with hold(self, pixels):
            with lock:
                now[0] += pixels
                most[0] = max(most[0], now[0])
            time.sleep(0.02)  # long enough for a second decoder to start
            yield
            with lock:
                now[0] -= pixels

    monkeypatch.setattr(Budget, "hold", counting)
    monkeypatch.setattr(reading, "usable_cores", lambda: 8)
    monkeypatch.setattr(reading, "PIXELS_PER_CORE", 2500)  # 20,000 pixels in all: two large images
    ahead = ReadAhead(Reading(spec), window=64)
    found = []
    for n in range(48):
        size = (100, 100) if n % 2 else (20, 20)
        found += ahead.put(todo(write_image(tmp_path / f"{n}.png", n, size=size)))
    found += ahead.drain()
    ahead.close()
    assert len(found) == 48
    assert all(isinstance(each, Decoded) for each in found)
    assert 10_000 < most[0] <= 20_000


def test_an_archive_that_vanishes_or_changes_fails_its_images_only(tmp_path, spec):
    path, todos = packed(tmp_path, 3)
    path.write_bytes(path.read_bytes() + b"more")
    ahead = ReadAhead(Reading(spec), window=4)
    assert {each.error for each in [*ahead.put_segment(todos), *ahead.drain()]} == {"ChangedError"}
    path.unlink()
    found = [*ahead.put_segment(todos), *ahead.drain()]
    ahead.close()
    assert [(each.uri, each.stage, each.error) for each in found] == [
        (each.image.uri, "read", "FileNotFoundError") for each in todos
    ]


def test_a_reader_that_nobody_listens_to_ends(tmp_path, spec):
    _, todos = packed(tmp_path, 50)
    ahead = ReadAhead(Reading(spec, reads=1), window=1)
    next(ahead.put_segment(todos))  # the generator is dropped
    ahead.clear()
    deadline = time.monotonic() + 10
    while ahead._bytes._held and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ahead._bytes._held == 0
    assert list(ahead.put(todo("/none"))) == []
    assert [each.uri for each in ahead.drain()] == ["/none"]
    ahead.close()


class Hanging:
    """A store whose files with "dead" in their name never answer, as on a dead mount."""

    def __init__(self, release):
        self._release = release
        self._store = LocalStore()

    def open(self, path, *others):
        if "dead-" in path:
            self._release.wait(60)
        file = self._store.open(path, *others)
        return Slow(file, self._release) if "dead." in path else file


class Slow(io.BufferedReader):
    """A file that hangs behind its first 100 kB."""

    def __init__(self, file, release):
        super().__init__(file.detach())
        self._release = release

    def read(self, *size):
        if self.tell() > 100_000:
            self._release.wait(60)
        return super().read(*size)


@pytest.fixture
def hanging(monkeypatch):
    release = threading.Event()
    for module in (reading, archives):
        monkeypatch.setattr(module, "store_for", lambda path: Hanging(release))
    yield
    release.set()


def test_a_read_that_hangs_is_a_failure_and_the_others_go_on(tmp_path, spec, hanging):
    """More hang than there are threads."""
    ahead = ReadAhead(Reading(spec, reads=2, read_timeout=0.3), window=2)
    dead, found = {1, 4, 7, 10}, []
    for n in range(12):
        name = "dead" if n in dead else "alive"
        found += ahead.put(todo(write_image(tmp_path / f"{name}-{n}.png", n)))
    found += ahead.drain()
    ahead.close()
    assert len(found) == 12
    failures = [each for each in found if isinstance(each, Failure)]
    assert len(failures) == len(dead)
    for each in failures:
        assert "dead" in each.uri
        assert (each.stage, each.error) == ("read", "TimeoutError")
        assert "0.3 s that --read-timeout allows" in each.message
    assert ahead._bytes._held == 0


def test_an_archive_that_hangs_fails_the_images_that_were_not_reached(tmp_path, spec, hanging):
    path, todos = packed(tmp_path, 60, size=(60, 60))
    path.rename(tmp_path / "dead.tar")
    todos = [
        Todo(each.image._replace(archive=str(tmp_path / "dead.tar"), uri=f"dead.tar#{n}"))
        for n, each in enumerate(todos)
    ]
    alive = write_image(tmp_path / "alive.png", 1)
    ahead = ReadAhead(Reading(spec, reads=1, read_timeout=0.3), window=80)
    found = [*ahead.put_segment(todos), *ahead.put(todo(alive)), *ahead.drain()]
    ahead.close()
    assert len(found) == 61
    decoded = [each.uri for each in found if isinstance(each, Decoded)]
    failed = [each for each in found if isinstance(each, Failure)]
    assert str(alive) in decoded
    assert len(decoded) > 3
    assert len(failed) > 3
    assert {(each.stage, each.error) for each in failed} == {("read", "TimeoutError")}
    assert ahead._bytes._held == 0


def test_an_image_that_takes_long_to_decode_is_a_failure(tmp_path, outcome):
    path = tmp_path / "a.gif"
    path.write_bytes(endless_gif())
    found = outcome(todo(path), decode_timeout=0.5)
    assert (found.stage, found.error) == ("decode", "DecodeTimeoutError")
    assert "0.5 s of processor time that --decode-timeout allows" in found.message


@pytest.fixture
def everything_known():
    """Known vectors whose filter says of every content that there may be a vector."""
    return KnownVectors("/nowhere", Buckets(0), dict.fromkeys(range(64), b"\xff" * 10000))


def test_content_that_may_be_known_waits_until_it_was_looked_up(tmp_path, spec, everything_known):
    ahead = ReadAhead(Reading(spec), window=4)
    ahead.known = everything_known
    before = ahead._bytes._held
    paths = [write_image(tmp_path / f"{n}.png", n) for n in range(20)]
    found, looked_up = [], 0
    for path in paths:
        for each in ahead.put(todo(path)):
            if isinstance(each, Hashed):
                looked_up += 1
                assert each.sha256 == hashlib.sha256(each.data).hexdigest()
                # A place that can't be read, or none: both images are decoded.
                ahead.resume(each, Place("part", 0) if looked_up % 2 else None)
            else:
                found.append(each)
    for each in ahead.drain():
        if isinstance(each, Hashed):
            looked_up += 1
            ahead.resume(each, None)
        else:
            found.append(each)
    assert looked_up == 20
    assert sorted(each.uri for each in found) == sorted(map(str, paths))
    assert {type(each) for each in found} == {Decoded}
    assert ahead._bytes._held == before
    ahead.close()


def test_images_that_wait_to_be_looked_up_are_dropped_with_the_others(
    tmp_path, spec, everything_known
):
    """The bytes that they hold are shared by all threads of the process, and are given back."""
    ahead = ReadAhead(Reading(spec), window=40)
    ahead.known = everything_known
    before = ahead._bytes._held
    for n in range(20):
        assert list(ahead.put(todo(write_image(tmp_path / f"{n}.png", n)))) == []
    ahead.clear()
    deadline = time.monotonic() + 20
    while ahead._bytes._held != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ahead._bytes._held == before
    assert list(ahead.drain()) == []
    ahead.close()


def test_images_that_are_never_decoded_give_their_bytes_back(tmp_path, spec, monkeypatch):
    """A run that fails closes its threads while images wait; the next run has the whole budget."""
    decode, going_on = reading.decode, threading.Event()

    def slowly(*words):
        going_on.wait(20)
        return decode(*words)

    monkeypatch.setattr(reading, "decode", slowly)
    ahead = ReadAhead(Reading(spec), window=60)
    before = ahead._bytes._held
    for n in range(40):
        assert list(ahead.put(todo(write_image(tmp_path / f"{n}.png", n), bytes=100))) == []
    deadline = time.monotonic() + 20
    while ahead._bytes._held < before + 4000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ahead._bytes._held == before + 4000
    threading.Timer(0.2, going_on.set).start()
    ahead.close()
    assert ahead._bytes._held == before


def test_all_threads_of_a_process_share_the_bounds_of_memory(spec):
    one, other = (ReadAhead(Reading(spec), window=4) for _ in range(2))
    assert one._bytes is other._bytes
    assert one._pixels is other._pixels
    for each in (one, other):
        each.close()
