"""Batches of a thousand rows: no row is lost, and none is given twice."""

import random

import pytest

from pipeline.records import Image
from pipeline.runs.batches import (
    PARTITIONS,
    Batches,
    KnownBatch,
    ListedBatch,
    NamedBatch,
    SeenBatch,
    as_known,
    listed_batch,
    pack,
    partition_of,
    unpack,
)


def test_every_row_comes_out_once_under_its_key():
    rng = random.Random(1)
    rows = [(rng.randrange(3), number) for number in range(5000)]
    batches, found = Batches(), []
    for key, number in rows:
        found += [(key, each) for each in batches.add(key, number)]
    full = len(found)
    for key, rest in batches.rest():
        found += [(key, each) for each in rest]
    assert sorted(found) == sorted(rows)
    assert full > 3000, "full batches are given as soon as they are full"
    assert batches.rest() == []


def test_add_works_when_it_is_called():
    """It must not wait until its result is iterated: a caller may ignore an empty result."""
    batches = Batches()
    batches.add("a", 1)
    assert batches.rest() == [("a", [1])]


@pytest.mark.parametrize(
    "batch",
    [
        ListedBatch("in", [("/a.jpg", "v", 1)], [Image("/b.jpg", "", 0, "broken")]),
        KnownBatch([("/a.jpg", "part", "v", "sha", None, True, (1, None))]),
        NamedBatch("/list.txt", ["/a.jpg"]),
        SeenBatch([("/a.jpg", "had")]),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_packing(batch):
    found = unpack(pack(batch), type(batch))
    assert found == batch
    assert type(found) is type(batch)


def test_a_batch_of_another_kind_is_an_error():
    with pytest.raises(TypeError, match="a packed NamedBatch; expected SeenBatch"):
        unpack(pack(NamedBatch("/list.txt", [])), SeenBatch)


def test_only_images_without_anything_special_are_plain():
    plain = Image("/a.jpg", "v", 7, source="in")
    others = [
        plain._replace(error="broken"),
        plain._replace(carried=(1,)),
        plain._replace(archive="/a.tar"),
    ]
    batch = unpack(listed_batch("in", [plain, *others]), ListedBatch)
    assert batch == ListedBatch("in", [("/a.jpg", "v", 7)], others)


def test_partitions_are_used_evenly():
    counts = [0] * PARTITIONS
    for number in range(6400):
        counts[partition_of(f"gs://bucket/photos/{number:06}.jpg")] += 1
    assert min(counts) > 50
    assert max(counts) < 150


def test_known_rows():
    known = as_known(("/a.jpg", "part", "v", None, "decode", False, None))
    assert (known.part, known.version, known.sha256) == ("part", "v", None)
    assert (known.stage, known.committed, known.carried) == ("decode", False, None)
