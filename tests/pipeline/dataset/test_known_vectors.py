import pickle
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.utils.shared import Shared

from encoder.spec import read_spec
from encoder.storage.base import StorageSettings
from pipeline.dataset import known_vectors as module
from pipeline.dataset import part_files
from pipeline.dataset.known_vectors import (
    Buckets,
    Contents,
    ContentsBuffer,
    KnownVectors,
    digests_of,
    place_in,
)
from pipeline.dataset.parts import PartWriter
from pipeline.embedding.call_sizes import CallSettings
from pipeline.embedding.decode import Reading
from pipeline.records import Embedded, Image, Load, Todo
from pipeline.steps import read as read_step


def row(number, sha256):
    vector = np.full(16, number, np.float32)
    return Embedded(
        f"/{number}.jpg", "v", 1, sha256, number, 3, False, None, vector, Load("load", "a CPU")
    )


@pytest.fixture
def hashes():
    return [np.random.default_rng(n).bytes(32).hex() for n in range(30)]


@pytest.fixture
def parts(tmp_path, small_bundle, hashes):
    """The paths of three parts with ten rows each."""
    writer = PartWriter(str(tmp_path), "run1", read_spec(small_bundle))
    return [
        writer.write_embeddings([row(n, hashes[n]) for n in range(start, start + 10)]).path
        for start in range(0, 30, 10)
    ]


def contents_of(parts, hashes):
    buffer = ContentsBuffer()
    for number, part in enumerate(parts):
        assert buffer.add(part, digests_of(hashes[10 * number : 10 * number + 10])) is None
    return buffer.rest()


class Index:
    """Looks up and reads, as the steps of a job do."""

    def __init__(self, output, contents, rows=30):
        buckets = Buckets(rows)
        self.contents = {n: [] for n in range(buckets.count)}
        bits = {}
        if contents:
            for bucket, found in buckets.spread(contents):
                self.contents[bucket].append(found)
            for number, some in buckets.bits_of(contents):
                bits.setdefault(number, []).append(some)
        segments = {number: buckets.segment(some) for number, some in bits.items()}
        self.vectors = KnownVectors(str(output), buckets, segments)

    def find(self, sha256):
        place = place_in(self.contents[self.vectors.buckets.bucket_of(sha256)], sha256)
        assert place is None or self.vectors.may_have(sha256)
        return self.vectors.read(place, sha256) if place else None


@pytest.fixture
def opened(monkeypatch):
    """A list of the parts that are opened."""
    paths = []

    def counting(file, **options):
        paths.append(file.name)
        return pq.ParquetFile(file, **options)

    monkeypatch.setattr(part_files, "pq", types.SimpleNamespace(ParquetFile=counting))
    return paths


def test_rows_are_found_by_content(tmp_path, parts, hashes):
    index = Index(tmp_path, contents_of(parts, hashes))
    for number in (0, 9, 10, 29, 5):
        found = index.find(hashes[number])
        assert (found.width, found.height) == (number, 3)
        assert found.embedding.tolist() == [number] * 16
    assert index.find("ab" * 32) is None
    # Buckets hold the first half of the digest; the whole digest decides.
    assert index.find(hashes[3][:32] + "0" * 32) is None
    (tmp_path / parts[2]).unlink()
    assert Index(tmp_path, contents_of(parts, hashes)).find(hashes[25]) is None


def test_a_part_is_opened_once(tmp_path, parts, hashes, opened):
    index = Index(tmp_path, contents_of(parts, hashes))
    for number in (*range(30), *range(30)):
        assert index.find(hashes[number]).width == number
    assert len(opened) == len(set(opened)) == 3


def test_a_part_is_opened_once_by_many_threads(tmp_path, parts, hashes, opened):
    index = Index(tmp_path, contents_of(parts, hashes))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(index.find, hashes * 5))
    assert [each.width for each in found] == list(range(30)) * 5
    assert len(opened) == 3


def test_row_groups_are_kept_within_a_bound(tmp_path, parts, hashes, opened, monkeypatch):
    size = 10 * (16 * 4 + 4 + 4 + 64)  # vector, width, height, sha256
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", int(2.5 * size))
    index = Index(tmp_path, contents_of(parts, hashes))
    for number in (0, 10, 1, 11):
        assert index.find(hashes[number]).width == number
    assert len(opened) == 2
    for number in (20, 12, 2):  # the first part is the least recently used
        assert index.find(hashes[number]).width == number
    assert len(opened) == 4


def test_rows_are_found_in_every_row_group(tmp_path, parts, hashes, opened):
    path = tmp_path / parts[1]
    pq.write_table(pq.read_table(path, partitioning=None), path, row_group_size=4)
    index = Index(tmp_path, contents_of(parts, hashes))
    for number in (10, 13, 14, 17, 18, 19, 10, 19, 14):
        assert index.find(hashes[number]).width == number
    assert len(opened) == 3


def test_a_vector_does_not_keep_its_row_group(tmp_path, parts, hashes):
    found = Index(tmp_path, contents_of(parts, hashes)).find(hashes[3])
    assert found.embedding.base is None


def test_the_filter_is_made_once_for_all_threads_and_bundles(tmp_path, small_bundle, monkeypatch):
    reading, calls = Reading(read_spec(small_bundle)), CallSettings(8, 32, 32)
    made = []

    class Counting(KnownVectors):
        def __init__(self, output, buckets, segments):
            made.append(segments)
            super().__init__(output, buckets, segments)

    monkeypatch.setattr(read_step, "KnownVectors", Counting)
    todo = Todo(Image(str(tmp_path / "missing.jpg"), "v", 1))
    step = read_step._Read(
        reading, calls, str(tmp_path), Buckets(0), None, StorageSettings(), Shared()
    )
    steps = [step, pickle.loads(pickle.dumps(step))]  # as a runner gives one to each thread
    for each in steps:
        each.setup()
        for _ in range(3):
            each.start_bundle()
            assert list(each.process([todo], {}, [(3, b"bits")])) == []
            failure, measures = each.finish_bundle()
            assert measures.tag == "measures"
            assert failure.tag == "failures"
    for each in steps:
        each.teardown()
    assert made == [{3: b"bits"}]


def test_an_empty_index():
    index = Index("/nowhere", None)
    assert index.find("ab" * 32) is None
    assert not index.vectors.may_have("ab" * 32)


def test_rows_without_a_hash_are_not_found():
    buffer = ContentsBuffer()
    buffer.add("part", digests_of([None, "cd" * 32]))
    contents = buffer.rest()
    assert len(contents.digests) == 16
    assert place_in([contents], "00" * 32) is None
    assert place_in([contents], "cd" * 32) == ("part", 1)
    buffer.add("part", digests_of([None]))
    assert buffer.rest() is None
    assert buffer.rest() is None


@pytest.mark.parametrize("rows", [0, 1000, 100_000])
def test_many_rows_in_many_buckets(rows):
    """Every row is found in the bucket of its content, whatever the estimate of their number."""
    rng = np.random.default_rng(1)
    hashes = [rng.bytes(32).hex() for _ in range(70_000)]
    buffer, found = ContentsBuffer(), []
    for start in range(0, 70_000, 1000):
        full = buffer.add(f"part{start}", digests_of(hashes[start : start + 1000]))
        found += [full] if full else []
    assert len(found) == 1, "they are given on before there are too many"
    found.append(buffer.rest())
    buckets, contents, bits = Buckets(rows), {}, {}
    for each in found:
        for bucket, some in buckets.spread(each):
            contents.setdefault(bucket, []).append(some)
        for number, more in buckets.bits_of(each):
            bits.setdefault(number, []).append(more)
    assert len(contents) == buckets.count
    segments = {number: buckets.segment(some) for number, some in bits.items()}
    vectors = KnownVectors("/nowhere", buckets, segments)
    assert all(map(vectors.may_have, hashes))
    for number in range(0, 70_000, 997):
        place = place_in(contents[buckets.bucket_of(hashes[number])], hashes[number])
        assert place == (f"part{number // 1000 * 1000}", number % 1000)
    others = [rng.bytes(32).hex() for _ in range(10_000)]
    if rows == 100_000:
        assert sum(map(vectors.may_have, others)) < 700


def test_the_filter_has_a_largest_size():
    assert Buckets(10**6).segment_bits * 64 == 16 * 10**6
    assert Buckets(10**10).segment_bits * 64 == 1 << 29


def test_contents_are_small():
    """Bytes for a row: that is what the runner moves, and what workers fetch of a bucket."""
    contents = Contents(("part",), bytes(16 * 1000), bytes(4 * 1000), bytes(4 * 1000))
    assert len(pickle.dumps(contents)) < 25_000
