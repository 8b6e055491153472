"""The store against a server that follows GCS's rules, and breaks connections and bodies."""

import gzip
import random
import threading

import pytest

from encoder.errors import ChangedError
from encoder.storage import base as storage
from encoder.storage.base import StorageSettings
from encoder.storage.gcs import client as gcs_client
from encoder.storage.gcs import listing as gcs_listing
from encoder.storage.registry import store_for
from tests.support.gcs import faults
from tests.support.gcs.faults import Faults

pytestmark = pytest.mark.slow

DATA = random.Random(0).randbytes(300_000)
# One status stands for the others, and a truncated body for other lost ones, in the short form.
SHORT = (faults.STATUS[-1], faults.LOST, faults.TRUNCATED, faults.CORRUPTED, faults.SLOW)


def in_short(kind):
    return kind if kind in SHORT else pytest.param(kind, marks=pytest.mark.long)


WHERE_SOMETHING_CHANGES = [in_short(each) for each in faults.ALL if each != faults.CORRUPTED]
LARGE = random.Random(1).randbytes(9 << 20)


@pytest.fixture
def store(gcs):
    return store_for("gs://bucket/x")


def test_an_object_takes_one_request_of_the_listed_generation(gcs, store):
    gcs.buckets["bucket"].put("a", b"one")
    (info,) = store.list_files("gs://bucket")
    gcs.requests.clear()
    assert store.read(info.path, info.version) == (b"one", info)
    (request,) = gcs.requests
    assert (request.kind, request.query["generation"]) == ("read", info.version)


@pytest.mark.parametrize("change", ["write", "delete"])
def test_an_object_that_changed_since_it_was_listed(gcs, store, change):
    bucket = gcs.buckets["bucket"]
    generation = str(bucket.put("a", b"one"))
    bucket.put("a", b"two") if change == "write" else bucket.remove("a")
    for read in (store.read, store.open):
        with pytest.raises(ChangedError, match=rf"generation {generation}.*written or deleted"):
            read("gs://bucket/a", generation)


@pytest.mark.parametrize("kind", [*map(in_short, faults.ALL)])
def test_reading_through_faults(gcs, store, kind):
    bucket = gcs.buckets["bucket"]
    for n in range(12):
        bucket.put(f"{n:02}", DATA[n:])
    bucket.put("large", LARGE)
    gcs.faults = Faults(0.4, [kind], pause=0.05)
    for n in range(12):
        assert store.read(f"gs://bucket/{n:02}")[0] == DATA[n:]
    with store.open("gs://bucket/large") as file:
        assert file.seek(5 << 20) == 5 << 20
        rest = file.read()
    if kind != faults.CORRUPTED:  # the server sends no checksum for a range
        assert rest == LARGE[5 << 20 :]
    assert [info.bytes for info in store.list_files("gs://bucket/")] == [
        *(len(DATA) - n for n in range(12)),
        len(LARGE),
    ]
    assert store.stat("gs://bucket/00").bytes == len(DATA)
    assert gcs.faults.injected[kind]


@pytest.mark.parametrize("kind", WHERE_SOMETHING_CHANGES)
def test_writing_through_faults(gcs, store, kind):
    gcs.faults = Faults(0.4, [kind], pause=0.05)
    for n in range(8):
        assert store.create(f"gs://bucket/{n}", DATA[n:])
    version = None
    for n in range(8):
        store.write_if("gs://bucket/manifest", DATA[:n], version)
        version = store.stat("gs://bucket/manifest").version
    assert store.create("gs://bucket/large", LARGE)
    store.write("gs://bucket/7", b"again")
    store.delete("gs://bucket/6")
    assert gcs.faults.injected[kind]
    gcs.faults = None
    bucket = gcs.buckets["bucket"]
    assert bucket.names() == [*"012345", "7", "large", "manifest"]
    assert bucket.get("5") == DATA[5:]
    assert bucket.get("large") == LARGE
    assert bucket.get("manifest") == DATA[:7]
    assert bucket.get("7") == b"again"


@pytest.mark.parametrize("kind", WHERE_SOMETHING_CHANGES)
def test_moving_through_faults(gcs, store, kind):
    """Readers find the object at one of its paths at any time."""
    bucket = gcs.buckets["bucket"]
    for n in range(12):
        bucket.put(f"staging/{n:02}", DATA[n:])
    gcs.faults = Faults(0.4, [kind], pause=0.05)
    for n in range(12):
        store.move(f"gs://bucket/staging/{n:02}", f"gs://bucket/{n:02}")
    assert gcs.faults.injected[kind]
    gcs.faults = None
    assert bucket.names() == [f"{n:02}" for n in range(12)]
    assert all(bucket.get(f"{n:02}") == DATA[n:] for n in range(12))


def test_moving_again_and_moving_nothing(gcs, store):
    bucket = gcs.buckets["bucket"]
    bucket.put("staging/ä b#[1]", b"data")
    for _ in range(2):
        store.move("gs://bucket/staging/ä b#[1]", "gs://bucket/ä b#[1]")
    assert (bucket.names(), bucket.get("ä b#[1]")) == (["ä b#[1]"], b"data")
    bucket.put("staging/ä b#[1]", b"data")  # an earlier move was killed before it removed this
    store.move("gs://bucket/staging/ä b#[1]", "gs://bucket/ä b#[1]")
    assert bucket.names() == ["ä b#[1]"]
    with pytest.raises(FileNotFoundError, match="gs://bucket/none does not exist"):
        store.move("gs://bucket/none", "gs://bucket/other")


def test_moving_where_the_server_cannot_copy(gcs, store, monkeypatch):
    from tests.support.gcs.rules import Bucket, RefusedError

    def unknown(*_):
        raise RefusedError(404, "Not Found", "notFound")

    monkeypatch.setattr(Bucket, "rewrite", unknown)
    bucket = gcs.buckets["bucket"]
    bucket.put("staging/a", DATA)
    store.move("gs://bucket/staging/a", "gs://bucket/a")
    assert (bucket.names(), bucket.get("a")) == (["a"], DATA)


def test_nothing_is_replaced_by_accident(gcs, store):
    generation = gcs.buckets["bucket"].put("a", b"theirs")
    assert not store.create("gs://bucket/a", b"mine")
    for expected in (None, str(generation - 1)):
        with pytest.raises(ChangedError, match="gs://bucket/a was written by somebody else"):
            store.write_if("gs://bucket/a", b"mine", expected)
    assert gcs.buckets["bucket"].get("a") == b"theirs"
    store.write_if("gs://bucket/a", b"mine", str(generation))
    assert gcs.buckets["bucket"].get("a") == b"mine"
    gcs.requests.clear()
    assert store.create("gs://bucket/new", b"x")
    (request,) = gcs.requests
    assert request.query["ifGenerationMatch"] == "0"


def test_a_deadline_ends_the_attempts(gcs, store):
    gcs.buckets["bucket"].put("a", b"x")
    gcs.faults = Faults(1, ["503"])
    storage.configure(StorageSettings(deadline=1))
    for call in (store.read, store.open, store.stat, lambda path: list(store.list_files(path))):
        with pytest.raises(TimeoutError, match=r"given up after 1 s of attempts.*injected 503"):
            call("gs://bucket/a")


def test_a_body_that_trickles_is_given_up(gcs, store, monkeypatch):
    monkeypatch.setattr(gcs_client, "_BODY_SECONDS", 0.2)
    monkeypatch.setattr(gcs_client, "_BYTES_PER_SECOND", 1e9)
    gcs.buckets["bucket"].put("a", DATA)
    gcs.faults = Faults(1, ["slow"], pause=0.4)
    storage.configure(StorageSettings(deadline=1))
    with pytest.raises(TimeoutError, match=r"only .* of 300,000 bytes came in 0 s"):
        store.read("gs://bucket/a")
    with pytest.raises(TimeoutError, match="bytes came in"):
        store.stat("gs://bucket/a")


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_stored_compressed_is_read_as_what_it_holds(gcs, store, whole):
    gcs.buckets["bucket"].put("list.csv", gzip.compress(DATA), "gzip")
    read = store.read("gs://bucket/list.csv")[0] if whole else store.open("gs://bucket/list.csv")
    assert (read if whole else read.read()) == DATA


def test_a_private_bucket(gcs, store):
    gcs.buckets["bucket"].private = "token"
    for call in (store.stat, store.read, store.open, store.is_folder, store.delete):
        with pytest.raises(PermissionError, match=r"not public, and no credentials.*gcloud auth"):
            call("gs://bucket/a")


def test_the_requester_pays(gcs, store):
    bucket = gcs.buckets["bucket"]
    bucket.requester_pays = True
    bucket.put("a", b"x")
    calls = (store.stat, store.read, store.open, store.is_folder)
    for call in (*calls, lambda path: store.write(path, b"x")):
        with pytest.raises(PermissionError, match="name your project by --user-project"):
            call("gs://bucket/a")
    storage.configure(StorageSettings("mine"))
    assert store.read("gs://bucket/a")[0] == b"x"
    assert store.open("gs://bucket/a").read() == b"x"
    store.write("gs://bucket/b", b"y")
    assert len(list(store.list_files("gs://bucket/"))) == 2
    store.delete("gs://bucket/a")
    assert bucket.names() == ["b"]


def test_pages_have_only_what_planning_needs(gcs, store):
    gcs.buckets["bucket"].put_many((f"photos/{n:05}.jpg" for n in range(2500)), b"x")
    assert len(list(store.list_files("gs://bucket/photos"))) == 2500
    assert gcs.counts() == {"list": 3}
    fields = {request.query["fields"] for request in gcs.requests}
    assert fields == {"items(name,generation,crc32c,size,updated),nextPageToken"}


@pytest.mark.parametrize(
    "names",
    [
        [f"photos/IMG_{n:07}.jpg" for n in range(60_000)],
        pytest.param([f"{n % 7}/deep/{n:06}.png" for n in range(60_000)], marks=pytest.mark.long),
        pytest.param(
            [f"{random.Random(n).getrandbits(64):016x}" for n in range(60_000)],
            marks=pytest.mark.long,
        ),
        [f"é中/{n}" for n in range(30_000)],
    ],
    ids=["flat", "folders", "hex", "unicode"],
)
def test_a_large_listing_is_cut_and_complete(gcs, store, names):
    gcs.delay = 0.15  # far longer than a page takes, even on a busy machine
    gcs.buckets["bucket"].put_many(names, b"x")
    found = [info.path for info in store.list_files("gs://bucket")]
    assert len(found) == len(names)
    assert set(found) == {f"gs://bucket/{name}" for name in names}
    pages = -(-len(names) // 1000)
    assert pages <= gcs.counts()["list"] <= 1.6 * pages + 16
    assert gcs.most_at_once >= 6


def test_a_large_listing_through_faults(gcs, store):
    names = [f"photos/{n:07}.jpg" for n in range(40_000)]
    gcs.buckets["bucket"].put_many(names, b"x")
    gcs.faults = Faults(0.2, pause=0.05)
    found = sorted(info.path for info in store.list_files("gs://bucket"))
    assert found == [f"gs://bucket/{name}" for name in names]


def test_a_large_listing_that_fails_is_not_taken_for_complete(gcs, store):
    gcs.buckets["bucket"].put_many((f"{n:07}" for n in range(40_000)), b"x")
    storage.configure(StorageSettings(deadline=0.5))
    gcs.faults = Faults(1, ["503"], match=lambda kind, name: len(gcs.requests) > 20)
    with pytest.raises(TimeoutError, match="gs://bucket: given up"):
        list(store.list_files("gs://bucket"))


def test_a_large_listing_that_nobody_reads_on_ends(gcs, store):
    gcs.buckets["bucket"].put_many((f"{n:07}" for n in range(200_000)), b"x")
    found = store.list_files("gs://bucket")
    for _ in range(6000):
        next(found)
    found.close()
    assert len(gcs.requests) < 150
    assert not [each for each in threading.enumerate() if each.name.startswith("list-bucket")]
    assert gcs_listing.THREADS == 16


def test_only_names_that_may_match_are_listed(gcs, store):
    gcs.buckets["bucket"].put_many(["a/1.jpg", "a/2.jpg", "a/b/1.jpg", "c/1.jpg"], b"x")
    found = store.list_files("gs://bucket/a", start="1", deep=False)
    assert [info.path for info in found] == ["gs://bucket/a/1.jpg"]
    (request,) = gcs.requests
    assert (request.query["prefix"], request.query["delimiter"]) == ("a/1", "/")
