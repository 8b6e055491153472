"""Shares of a partition: every row in one share, equal uris together, and bounded memory."""

import random
import tempfile
import tracemalloc

import pytest

from pipeline.records import Image, Share
from pipeline.runs import shares as shares_module
from pipeline.runs.batches import (
    KnownBatch,
    ListedBatch,
    NamedBatch,
    SeenBatch,
    listed_batch,
    pack,
    partition_of,
    share_of,
)
from pipeline.runs.shares import divided, in_shares


def uris_of(partition, count):
    names = (f"gs://bucket/photos/{number:07}.jpg" for number in range(10**7))
    mine = (name for name in names if partition_of(name) == partition)
    return [next(mine) for _ in range(count)]


def rows_of(batch):
    if isinstance(batch, ListedBatch):
        return [
            *((batch.source, uri) for uri, _, _ in batch.plain),
            *((batch.source, image.uri) for image in batch.others),
        ]
    if isinstance(batch, NamedBatch):
        return [(batch.list_uri, uri) for uri in batch.uris]
    return [("", row[0]) for row in batch.rows]


def batches_of(uris):
    """All kinds of batches, of some or all of these uris."""
    images = [Image(uri, "v", 1, error="broken" if n % 3 else None) for n, uri in enumerate(uris)]
    known = [(uri, "part", "v", "sha", None, True, None) for uri in uris]
    return [
        *(listed_batch("in", images[start : start + 7]) for start in range(0, len(uris), 7)),
        *(pack(KnownBatch(known[start : start + 9])) for start in range(0, len(uris), 9)),
        pack(NamedBatch("/list.txt", uris[::2])),
        pack(SeenBatch([(uri, "had") for uri in uris[::3]])),
    ]


def test_few_rows_are_one_share():
    packed = batches_of(uris_of(3, 20))
    ((share, batches),) = in_shares(3, packed)
    assert share == Share(3, 0, 1)
    assert len(list(batches)) == len(packed)


def test_every_row_is_in_the_share_of_its_uri(monkeypatch):
    uris = uris_of(5, 300)
    packed = batches_of(uris)
    random.Random(1).shuffle(packed)
    ((_, all_batches),) = in_shares(5, packed)
    expected = [row for batch in all_batches for row in rows_of(batch)]
    found, shares = [], set()
    monkeypatch.setattr(shares_module, "MOST_ROWS", 100)
    for share, batches in in_shares(5, packed):
        rows = [row for batch in batches for row in rows_of(batch)]
        assert {share_of(uri, share.of) for _, uri in rows} == {share}
        assert len(rows) < 250
        shares.add(share)
        found += rows
    assert sorted(found) == sorted(expected)
    assert {share.partition for share in shares} == {5}
    assert sorted(share.number for share in shares) == list(range(9))


def test_the_shares_are_even_among_uris_of_one_partition():
    counts = [0] * 8
    for uri in uris_of(7, 4000):
        counts[share_of(uri, 8).number] += 1
    assert min(counts) > 400


def test_a_share_without_rows(monkeypatch):
    monkeypatch.setattr(shares_module, "MOST_ROWS", 4)
    batch = pack(SeenBatch([("/a.jpg", "had")] * 10))
    shares = [list(batches) for _, batches in in_shares(partition_of("/a.jpg"), [batch])]
    assert [bool(batches) for batches in shares].count(True) == 1


@pytest.mark.parametrize("kind", [SeenBatch, KnownBatch])
def test_dividing_keeps_the_kind(kind):
    rows = [(uri, "had") for uri in uris_of(1, 50)]
    pieces = divided(kind(rows), 4)
    assert {type(piece) for piece in pieces.values()} == {kind}
    assert sorted(row for piece in pieces.values() for row in piece.rows) == sorted(rows)


def test_the_temporary_file_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shares_module, "MOST_ROWS", 10)
    for _ in in_shares(5, batches_of(uris_of(5, 40))):
        break
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_partition(monkeypatch):
    """Four times the rows take little more memory, as long as a share has the same size."""
    monkeypatch.setattr(shares_module, "MOST_ROWS", 5000)
    peaks = []
    for rows in (10_000, 40_000):
        names = [(f"/photos/{number:09}.jpg", "had") for number in range(rows)]
        packed = [pack(SeenBatch(names[n : n + 1000])) for n in range(0, rows, 1000)]
        del names
        tracemalloc.start()
        for _, batches in in_shares(0, packed):
            assert len({uri for batch in batches for uri, _ in batch.rows}) > 1000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
