import io
import pickle
import random

import pytest

from encoder import storage
from encoder.errors import ChangedError, TooLargeError
from encoder.gcs_listing import half_way
from encoder.storage import StorageSettings, store_for

LARGE = random.Random(0).randbytes(21 << 20)


def test_write_read_and_delete(bucket):
    path = f"{bucket}/folder/ä b#[1].bin"
    store = store_for(path)
    assert store.stat(path) is None
    store.write(path, b"content")
    info = store.stat(path)
    assert (info.path, info.bytes) == (path, 7)
    assert store.read(path) == (b"content", info)
    assert store.open(path).read() == b"content"
    assert list(store.list_files(f"{bucket}/folder")) == [info]
    assert store.is_folder(bucket)
    assert not store.is_folder(f"{bucket}/fold")
    store.delete(path)
    store.delete(path)
    assert store.stat(path) is None
    for read in (store.read, store.open):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read(path)


@pytest.mark.parametrize("size", [0, 1, 4 << 20, (4 << 20) + 1, 9 << 20, len(LARGE)])
def test_any_size(bucket, size):
    path = f"{bucket}/x"
    store_for(path).write(path, LARGE[:size])
    assert store_for(path).read(path)[0] == LARGE[:size]
    with store_for(path).open(path) as file:
        assert file.read() == LARGE[:size]
        assert file.seek(0, io.SEEK_END) == size
        assert file.read(10) == b""


def test_here_and_there_in_a_large_object(bucket):
    path = f"{bucket}/x"
    store_for(path).write(path, LARGE)
    expected = io.BytesIO(LARGE)
    chance = random.Random(1)
    with store_for(path).open(path) as file:
        for _ in range(60):
            place = chance.randrange(len(LARGE) + 1000)
            length = int(10 ** chance.uniform(0, 7))
            assert file.seek(place) == expected.seek(place)
            assert file.read(length) == expected.read(length)
            assert file.tell() == expected.tell()


def test_most(bucket):
    path = f"{bucket}/x"
    store_for(path).write(path, b"12345")
    with pytest.raises(TooLargeError, match="--max-bytes 4"):
        store_for(path).read(path, most=4)
    assert store_for(path).read(path, most=5)[0] == b"12345"


def test_a_missing_bucket(bucket):
    store = store_for("gs://no-such-bucket/x")
    for call in (
        lambda: list(store.list_files("gs://no-such-bucket/x")),
        lambda: store.is_folder("gs://no-such-bucket"),
    ):
        with pytest.raises(FileNotFoundError, match="there is no bucket gs://no-such-bucket"):
            call()
    assert store.stat("gs://no-such-bucket/x") is None


def test_settings_hold_where_they_are_unpickled():
    travelling = pickle.dumps(StorageSettings("mine", 7))
    storage.configure(StorageSettings())
    try:
        assert pickle.loads(travelling) == StorageSettings("mine", 7)
        assert storage.settings() == StorageSettings("mine", 7)
    finally:
        storage.configure(StorageSettings())


@pytest.mark.parametrize(
    ("last", "end", "alphabet", "expected"),
    [
        ("p/0", None, "0123456789", "p/5"),
        ("p/0", "p/4", "0123456789", "p/2"),
        ("p/00x", "p/01", "0123456789x", None),
        ("p/img_0001.jpg", None, "img_01.jp", "p/m"),
        ("p/9", None, "0123456789", None),
        ("p/a", "p/b", "ab", None),
        ("p/é", None, "éü中", "p/中"),
    ],
)
def test_half_way(last, end, alphabet, expected):
    found = half_way(last, end, 2, set(alphabet))
    assert found == expected
    assert found is None or (found > last and (end is None or found < end))


def test_half_way_is_always_between():
    chance = random.Random(2)
    names = sorted(
        {"".join(chance.choices("abc/.09", k=chance.randrange(1, 9))) for _ in range(300)}
    )
    for _ in range(2000):
        last, end = sorted(chance.sample(names, 2))
        middle = half_way(last, end, 0, set("abc/.09"))
        assert middle is None or last < middle < end


def test_a_version_that_is_gone(bucket):
    """The emulator of these tests knows no generations; see test_buckets.py for the rest."""
    path = f"{bucket}/x"
    with pytest.raises(ChangedError, match=r"no longer as it was when it was listed.*next run"):
        store_for(path).read(path, "123")
