import types

import numpy as np
import pyarrow.parquet as pq
import pytest

from encoder.spec import read_spec
from encoder.storage.base import StorageSettings
from pipeline.dataset import known_vectors as contents
from pipeline.dataset import part_files
from pipeline.dataset.known_vectors import VectorIndex, contents_of
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
    """Three parts with ten rows each."""
    writer = PartWriter(str(tmp_path), "run1", read_spec(small_bundle))
    found = []
    for start in range(0, 30, 10):
        rows = [row(n, hashes[n]) for n in range(start, start + 10)]
        found.append(contents_of(writer.write_embeddings(rows).path, hashes[start : start + 10]))
    return found


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
    index = VectorIndex(str(tmp_path), parts)
    for number in (0, 9, 10, 29, 5):
        found = index.find(hashes[number])
        assert (found.width, found.height) == (number, 3)
        assert found.embedding.tolist() == [number] * 16
    assert index.find("ab" * 32) is None
    # The index holds the first half of the digest; the whole digest decides.
    assert index.find(hashes[3][:32] + "0" * 32) is None
    (tmp_path / parts[2].part).unlink()
    assert VectorIndex(str(tmp_path), parts).find(hashes[25]) is None


def test_a_part_is_opened_once(tmp_path, parts, hashes, opened):
    index = VectorIndex(str(tmp_path), parts)
    for number in (*range(30), *range(30)):
        assert index.find(hashes[number]).width == number
    assert len(opened) == len(set(opened)) == 3


def test_row_groups_are_kept_within_a_bound(tmp_path, parts, hashes, opened, monkeypatch):
    size = 10 * (16 * 4 + 4 + 4 + 64)  # vector, width, height, sha256
    monkeypatch.setattr(contents, "ROW_GROUP_BYTES", int(2.5 * size))
    index = VectorIndex(str(tmp_path), parts)
    for number in (0, 10, 1, 11):
        assert index.find(hashes[number]).width == number
    assert len(opened) == 2
    for number in (20, 12, 2):  # the first part is the least recently used
        assert index.find(hashes[number]).width == number
    assert len(opened) == 4


def test_rows_are_found_in_every_row_group(tmp_path, parts, hashes, opened):
    path = tmp_path / parts[1].part
    pq.write_table(pq.read_table(path, partitioning=None), path, row_group_size=4)
    index = VectorIndex(str(tmp_path), parts)
    for number in (10, 13, 14, 17, 18, 19, 10, 19, 14):
        assert index.find(hashes[number]).width == number
    assert len(opened) == 3


def test_a_vector_does_not_keep_its_row_group(tmp_path, parts, hashes):
    assert VectorIndex(str(tmp_path), parts).find(hashes[3]).embedding.base is None


def test_the_index_is_made_once_for_all_bundles(tmp_path, small_bundle, parts, monkeypatch):
    reading, calls = Reading(read_spec(small_bundle)), CallSettings(8, 32, 32)
    made = []

    def counting(output, contents):
        made.append(len(list(contents)))
        return VectorIndex(output, [])

    monkeypatch.setattr(read_step, "VectorIndex", counting)
    todo = Todo(Image(str(tmp_path / "missing.jpg"), "v", 1))
    step = read_step._Read(reading, calls, str(tmp_path), None, StorageSettings())
    step.setup()
    for _ in range(3):
        step.start_bundle()
        assert list(step.process([todo], parts)) == []
        (failure,) = step.finish_bundle()
        assert failure.tag == "failures"
    step.teardown()
    assert made == [3]


def test_an_empty_index():
    assert VectorIndex("/nowhere", []).find("ab" * 32) is None


def test_rows_without_a_hash_are_not_found(tmp_path):
    part = contents_of("part", [None, "cd" * 32])
    assert len(part.digests) == 32
    assert VectorIndex(str(tmp_path), [part]).find("00" * 32) is None
