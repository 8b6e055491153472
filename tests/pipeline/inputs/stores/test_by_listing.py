import random

import pytest

from encoder.storage import registry
from pipeline.inputs.lists.registry import Entry
from pipeline.inputs.lists.rows import RowBlock, RowLooker, blocks_of
from pipeline.inputs.roots import Roots
from pipeline.inputs.stores.by_listing import Listings
from tests.support.ordered_store import ROOT, OrderedMemory


@pytest.fixture
def store(monkeypatch):
    """60,000 objects, a thousand on a page."""
    names = [f"photos/{n:06}.jpg" for n in range(50_000)] + [f"z/{n}.jpg" for n in range(10_000)]
    store = OrderedMemory(names, page=1000)
    monkeypatch.setitem(registry._stores, "mem://", store)
    return store


def rows(paths):
    return iter([(n, Entry(path, None, ("x", n))) for n, path in enumerate(paths, 1)])


def looked_up(paths, looker=None):
    """The images of a list, by row."""
    looker = looker or RowLooker(Roots(), 60)
    images = [
        i for block in blocks_of(rows(paths), "in", "/list.txt") for i in looker.images(block)
    ]
    images.sort(key=lambda image: image.row)
    assert [image.row for image in images] == list(range(1, len(paths) + 1))
    assert [image.carried for image in images] == [("x", n) for n in range(1, len(paths) + 1)]
    return images


def one_by_one(store, paths):
    """The same, from a request for each name."""
    store.closed = True
    images = looked_up(paths)
    store.closed = False
    store.requests.update({"list": 0, "stat": 0})
    return images


@pytest.mark.parametrize(
    ("numbers", "most"),
    [
        (range(5000), 20),  # one page for each block of 256 rows
        (range(49_999, 0, -7), 80),
        (random.Random(1).sample(range(50_000), 20_000), 120),  # sorted among 65,536 rows
        ([*range(3000)] * 2, 140),
        (range(63), 63),  # too few for a listing to pay off
        (range(0, 50_000, 500), 101),  # too far apart, as the first page shows
    ],
    ids=["dense", "backwards", "shuffled", "twice", "few", "sparse"],
)
def test_pages_take_the_place_of_requests_for_each_name(store, numbers, most):
    paths = [f"{ROOT}photos/{n:06}.jpg" for n in numbers]
    expected = one_by_one(store, paths)
    assert looked_up(paths) == expected
    assert all(image.version for image in expected)
    assert sum(store.requests.values()) <= most


def test_what_is_missing_is_as_without_a_listing(store):
    """A name that no page has is looked up, since some stores hide names from listings."""
    numbers = [n for n in range(48_000, 52_000) if n % 3]
    paths = [f"{ROOT}photos/{n:06}.jpg" for n in numbers]
    paths += [f"{ROOT}a/1.jpg", f"{ROOT}photos", f"{ROOT}zz", f"{ROOT}photos/049999.jpg#1"]
    expected = one_by_one(store, paths)
    found = looked_up(paths)
    assert found == expected
    missing = [image for image in found if image.error]
    assert len(missing) == sum(n > 49_999 for n in numbers) + 4
    assert {image.error for image in missing} == {"there is no such object"}
    assert store.requests["stat"] < len(missing) + 1000


def test_a_bucket_that_may_not_be_listed(store):
    """Its names are looked up one by one; each worker tries to list it once."""
    paths = [f"{ROOT}photos/{n:06}.jpg" for n in range(3000)]
    store.closed = True
    looker = RowLooker(Roots(), 60)
    assert not any(image.error for image in looked_up(paths, looker))
    assert store.requests == {"list": 1, "stat": 3000}


def test_a_store_whose_listing_does_not_obey(store):
    store.obeys = False
    paths = [f"{ROOT}photos/{n:06}.jpg" for n in range(2000)]
    assert looked_up(paths) == one_by_one(store, paths)


def test_other_stores_are_asked_for_each_name(store):
    assert Listings().states_of(f"/disk/{n}.jpg" for n in range(100)) == {}
    assert store.requests == {"list": 0, "stat": 0}


def test_what_a_list_may_not_name_is_not_looked_up(store):
    inside, outside = f"{ROOT}photos", f"{ROOT}z"
    block = RowBlock(
        "in",
        "/list.txt",
        [(n, Entry(f"{place}/{n % 1000:06}.jpg", None, None)) for n in range(2000)
         for place in (inside, outside)],
    )  # fmt: skip
    images = list(RowLooker(Roots((inside,)), 60).images(block))
    assert {bool(image.error) for image in images[::2]} == {False}
    assert {"outside of --allow-root" in (image.error or "") for image in images[1::2]} == {True}
    assert store.requests["stat"] == 0
