import numpy as np

from encoder.spec import read_spec
from pipeline.contents import ContentIndex, contents_of
from pipeline.parts import PartWriter
from pipeline.records import Embedded


def row(number, sha256):
    vector = np.full(16, number, np.float32)
    return Embedded(f"/{number}.jpg", "v", 1, sha256, number, 3, False, None, vector, "load")


def test_rows_are_found_by_content(tmp_path, small_bundle):
    writer = PartWriter(str(tmp_path), "run1", read_spec(small_bundle))
    hashes = [np.random.default_rng(n).bytes(32).hex() for n in range(30)]
    contents = []
    for start in range(0, 30, 10):
        rows = [row(n, hashes[n]) for n in range(start, start + 10)]
        contents.append(contents_of(writer.write_embeddings(rows).path, hashes[start : start + 10]))
    index = ContentIndex(str(tmp_path), contents)
    for number in (0, 9, 10, 29, 5):
        found = index.find(hashes[number])
        assert (found.width, found.height) == (number, 3)
        assert found.embedding.tolist() == [number] * 16
    assert index.find("ab" * 32) is None
    # The digest is only the first half; the whole decides.
    assert index.find(hashes[3][:32] + "0" * 32) is None
    (tmp_path / contents[2].part).unlink()
    assert index.find(hashes[25]) is None


def test_an_empty_index():
    assert ContentIndex("/nowhere", []).find("ab" * 32) is None


def test_rows_without_a_hash_are_not_found(tmp_path):
    contents = contents_of("part", ["", "cd" * 32])
    assert len(contents.digests) == 32
    assert ContentIndex(str(tmp_path), [contents]).find("00" * 32) is None
