import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.storage import registry
from pipeline.inputs.stores import name_ranges
from pipeline.inputs.stores.name_ranges import (
    NameRange,
    UnorderedError,
    list_ranges,
    list_start,
    split,
)
from tests.support.ordered_store import ROOT, OrderedMemory

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("//aab01._-"),
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\ud7ff\ue000\uffff\U00010000\U0010ffff"),
    ),
    max_size=6,
)
NAMES = st.one_of(
    st.lists(HOSTILE, max_size=80),
    st.builds(
        lambda stem, count, ends: [stem + f"{n:04}" + ends[n % len(ends)] for n in range(count)],
        HOSTILE,
        st.integers(0, 120),
        st.lists(HOSTILE, min_size=1, max_size=3),
    ),
    st.builds(lambda text, n: [text * i for i in range(1, n)], HOSTILE, st.integers(1, 40)),
)
SHAPES = {
    "one dense folder": [f"photos/img_{n:09}.jpg" for n in range(1, 3000)],
    "behind a long beginning": [f"{'a' * 900}/{n:05}" for n in range(3000)],
    "almost all in one of many": [f"{n:02}/x" for n in range(99)]
    + [f"50/{n}" for n in range(3000)],
    "folders with their own objects": [
        f"{year}/{name}"
        for year in range(9)
        for month in range(12)
        for name in ("", f"{month}/", f"{month}/a.jpg")
    ],
    "random": [f"{random.Random(n).getrandbits(64):016x}.png" for n in range(3000)],
    "many characters": [f"{chr(0x4E00 + n)}/{n}" for n in range(3000)],
    "few characters of all": [chr(n) * 3 for n in (33, 126, 0xE9, 0xFFFD, 0x10FFFF)] * 2,
}  # fmt: skip


@pytest.fixture
def few_pages(monkeypatch):
    monkeypatch.setattr(name_ranges, "PAGES_ALONE", 2)
    monkeypatch.setattr(name_ranges, "_PAGES", 2)


def store_with(names, page=3):
    store = OrderedMemory(names, page)
    registry._stores["mem://"] = store
    return store


@pytest.fixture(autouse=True)
def no_store_remains():
    yield
    registry._stores.pop("mem://", None)


def check_partition(whole, ranges):
    """The ranges follow each other without a gap, and none is empty."""
    assert ranges[0].start == whole.start
    assert ranges[-1].end == whole.end
    for one, other in itertools.pairwise(ranges):
        assert one.end == other.start
    for each in ranges:
        assert each.end is None or each.start < each.end


def all_listed(whole, rounds=2):
    """The files of a range as a job lists them: a start, rounds that split again, and the rest."""
    turn = list_start(whole)
    found, ranges = list(turn.files), turn.rest
    for number in range(rounds + 1):
        handed_on = []
        for place, turn in list_ranges(list(enumerate(ranges)), hands_on=number < rounds):
            assert place < len(ranges)
            found += turn.files
            handed_on += turn.rest
        ranges = handed_on
    assert not ranges
    return found


@settings(max_examples=60, deadline=None)
@given(NAMES, st.integers(1, 5), st.booleans(), st.booleans())
def test_every_name_is_in_one_range(names, page, deep, gaps):
    """Whatever the names are: also those that begin each other, or end with the last character."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name_ranges, "PAGES_ALONE", 2)
        patch.setattr(name_ranges, "_PAGES", 2)
        store = store_with(names, page)
        store.gaps = gaps
        for prefix in (ROOT, f"{ROOT}a/"):
            whole = NameRange(prefix, deep)
            ranges = split(whole)
            check_partition(whole, ranges)
            assert split(whole) == ranges  # the same answers give the same ranges
            expected = [info for each in store.pages(prefix, deep) for info in each.files]
            for info in expected:
                assert sum(each.holds(info.path) for each in ranges) == 1
            files = [info for info in expected if not info.path.endswith("/")]
            assert sorted(all_listed(whole)) == sorted(files)


@pytest.mark.parametrize("names", SHAPES.values(), ids=SHAPES)
def test_large_listings_are_split_evenly(few_pages, names):
    store = store_with(names, page=50)
    whole = NameRange(ROOT)
    ranges = split(whole)
    check_partition(whole, ranges)
    assert store.requests["list"] < 350
    assert min(4, len(set(names))) <= len(ranges) <= 64
    holding = [sum(each.holds(f"{ROOT}{name}") for name in set(names)) for each in ranges]
    assert all(holding)
    found = [info.path for info in all_listed(whole)]
    assert sorted(found) == sorted(f"{ROOT}{n}" for n in set(names) if not n.endswith("/"))


def test_a_small_listing_takes_no_further_request():
    for count, pages in ((0, 1), (1, 1), (999, 1), (4_999, 5), (5_000, 5)):
        store = store_with((f"{n:05}" for n in range(count)), page=1000)
        turn = list_start(NameRange(ROOT))
        assert (len(turn.files), turn.rest) == (count, [])
        assert store.requests["list"] == pages


def test_what_changes_while_it_is_listed_is_in_one_range_at_most(few_pages):
    """A name that comes between is listed if its range has not been listed."""
    store_with(f"{n:04}" for n in range(0, 2000, 2))
    turn = list_start(NameRange(ROOT))
    store_with(f"{n:04}" for n in range(1, 2000))
    found = [
        info.path
        for _, each in list_ranges([(0, r) for r in turn.rest], False)
        for info in each.files
    ]
    assert len(set(found)) == len(found)
    assert {f"{ROOT}{n:04}" for n in range(100, 2000)} <= set(found)


def test_stores_without_order_are_not_split(few_pages):
    """Seen with Storj, whose order is that of encrypted names, and with rclone serve s3."""
    store = store_with(f"{n:04}" for n in range(100))
    turn = list_start(NameRange(ROOT))
    store.obeys = False
    with pytest.raises(UnorderedError, match="lists 'mem://bucket/0098' after 'mem://bucket/0099'"):
        list_start(NameRange(ROOT))
    with pytest.raises(UnorderedError):
        list(list_ranges([(0, each) for each in turn.rest], hands_on=False))


def test_a_range_that_fails_is_an_error(few_pages):
    store = store_with(f"{n:04}" for n in range(1000))
    turn = list_start(NameRange(ROOT))
    store.closed = True
    with pytest.raises(PermissionError, match="listing is refused"):
        list(list_ranges([(0, each) for each in turn.rest], hands_on=True))
