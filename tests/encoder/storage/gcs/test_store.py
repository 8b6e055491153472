import io
import random

import pytest

from encoder.errors import ChangedError, TooLargeError
from encoder.storage.gcs.listing import half_way
from encoder.storage.registry import store_for

LARGE = random.Random(0).randbytes(21 << 20)


def test_moving(bucket, tmp_path):
    for folder in (bucket, str(tmp_path)):
        store = store_for(folder)
        store.write(f"{folder}/staging/x/ä#1.bin", b"content")
        for _ in range(2):
            store.move(f"{folder}/staging/x/ä#1.bin", f"{folder}/x/ä#1.bin")
            assert store.read(f"{folder}/x/ä#1.bin")[0] == b"content"
            assert store.stat(f"{folder}/staging/x/ä#1.bin") is None
        with pytest.raises(FileNotFoundError):
            store.move(f"{folder}/none", f"{folder}/other")


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


@pytest.mark.parametrize("size", [0, 1, 8 << 20, (8 << 20) + 1, 9 << 20, len(LARGE)])
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


@pytest.mark.parametrize(
    ("first", "last", "end", "expected"),
    [
        ("p/00", "p/09", None, "p/5"),
        ("p/10", "p/19", "p/4", "p/3"),
        ("p/img_0000.jpg", "p/img_0399.jpg", None, "p/img_07"),
        ("p/img_0900.jpg", "p/img_0999.jpg", None, "p/img_5"),
        ("p/img_0900.jpg", "p/img_0999.jpg", "p/img_1", "p/img_09j"),
        ("p/9a", "p/9b", None, "p/9j"),
        ("p/a", "p/b", "p/b0", None),
        ("p/é", "p/é", None, None),
    ],
)
def test_half_way(first, last, end, expected):
    alphabet = set("img_0123456789.jp/")
    found = half_way(first, last, end, 2, alphabet)
    assert found == expected
    assert found is None or (found > last and (end is None or found < end))


def test_half_way_is_always_between():
    chance = random.Random(2)
    words = ("".join(chance.choices("aB/.09", k=chance.randrange(1, 9))) for _ in range(300))
    names = sorted(set(words))
    for _ in range(2000):
        first, last, end = sorted(chance.sample(names, 3))
        middle = half_way(first, last, end, 0, set("aB/.09"))
        assert middle is None or last < middle < end


def test_a_version_that_is_gone(bucket):
    """The emulator has no generations. test_buckets.py tests the rest."""
    path = f"{bucket}/x"
    with pytest.raises(ChangedError, match=r"no longer as it was when it was listed.*next run"):
        store_for(path).read(path, "123")
