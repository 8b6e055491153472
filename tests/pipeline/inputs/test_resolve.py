import gzip
import os
import threading

import pyarrow as pa
import pytest

from encoder.storage import registry
from encoder.storage.base import FileInfo
from pipeline.dataset.named_uris import read_uris
from pipeline.errors import JobError
from pipeline.inputs.resolve import ListSettings
from pipeline.inputs.source import parse_input
from pipeline.options import ListOptions
from pipeline.records import Image, ListRows, ListState, Note
from tests.support.listing import listed


class Memory:
    """A store in which every object exists."""

    def stat(self, path):
        return FileInfo(path, "1", 1)


@pytest.fixture
def memory_store(monkeypatch):
    monkeypatch.setitem(registry._stores, "mem://", Memory)


def expand(tmp_path, pattern):
    settings = ListSettings(ListOptions(), pa.schema([]), str(tmp_path / "out"), "id", 300.0, False)
    return list(listed(parse_input(f"{tmp_path}/{pattern}"), settings))


def test_rows_are_numbered_over_all_lists_of_an_input(tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.csv").write_text("uri,c\n1.png,x\n1.png,y\nonly one value\n,z\n")
    (tmp_path / "b.csv").write_text("uri;c\n2.png;x\nmissing.png;\n")
    found = expand(tmp_path, "*.csv")
    images = [each for each in found if isinstance(each, Image)]
    assert [each.row for each in images] == [1, 2, 3, 4, 5, 6]
    assert [bool(each.error) for each in images] == [False, False, True, True, False, True]
    assert [each for each in found if isinstance(each, ListRows)] == [
        ListRows(f"{tmp_path}/a.csv", 4),
        ListRows(f"{tmp_path}/b.csv", 2),
    ]
    assert [each for each in found if isinstance(each, Note)] == [
        Note(f"{tmp_path}/b.csv", "{row} read with ';' between values, as UTF-8", 2)
    ]
    assert not any(isinstance(each, ListState) for each in found)
    assert {each.row for each in expand(tmp_path, "*.png")} == {0}


def test_rows_on_a_dead_mount_are_failures(tmp_path, monkeypatch):
    release = threading.Event()
    stat = os.stat

    def hanging(path, *others, **options):
        if "/gone/" in os.fspath(path):
            release.wait(60)
        return stat(path, *others, **options)

    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    names = ["a.jpg", "gone/1.jpg", "b.jpg", "gone/2.jpg", "gone/3.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    monkeypatch.setattr("encoder.storage.local.os.stat", hanging)
    settings = ListSettings(ListOptions(), pa.schema([]), str(tmp_path / "out"), "id", 0.3, False)
    source = parse_input(str(tmp_path / "list.txt"))
    found = [
        (os.path.relpath(each.uri, tmp_path), each.error)
        for each in listed(source, settings)
        if isinstance(each, Image)
    ]
    problem = "the file system gave no answer within 0.3 s (--read-timeout)"
    assert found == [(name, problem if "gone" in name else None) for name in names]
    (tmp_path / "list.txt").write_text("\n".join(f"gone/{n}.jpg" for n in range(9)))
    with pytest.raises(JobError, match="4 requests in a row were given up"):
        list(listed(source, settings))
    release.set()


def test_a_dead_mount_beside_objects_in_a_list(tmp_path, monkeypatch, memory_store):
    """Rows of buckets are looked at in other threads; those of a dead mount must not hold them."""
    release, stat = threading.Event(), os.stat

    def hanging(path, *others, **options):
        if "/gone/" in os.fspath(path):
            release.wait(60)
        return stat(path, *others, **options)

    monkeypatch.setattr("encoder.storage.local.os.stat", hanging)
    (tmp_path / "list.txt").write_text("mem://b/1.jpg\ngone/2.jpg\nmem://b/3.jpg\n")
    settings = ListSettings(ListOptions(), pa.schema([]), str(tmp_path / "out"), "id", 0.3, False)
    source = parse_input(str(tmp_path / "list.txt"))
    found = {e.row: e.error for e in listed(source, settings) if isinstance(e, Image)}
    assert [found[row] is not None for row in (1, 2, 3)] == [False, True, False]
    release.set()


def test_the_uris_of_a_list_are_written_in_its_order(tmp_path, memory_store):
    """Its rows are looked up in another order, and by other workers than the one that reads it."""
    folder = tmp_path / "there"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder / "inner")
    for name in ("a.jpg", "b#1.zip#c.jpg"):
        (folder / name).touch()
    names = ["mem://b/9.jpg", "there/a.jpg", "mem://b/1.jpg", "link/../a.jpg", "ftp://x/1.jpg"]
    names += ["there/b#1.zip#c.jpg", "missing.jpg", "mem://b/9.jpg", "mem://b/5/../x"]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(names))
    settings = ListSettings(ListOptions(), pa.schema([]), str(tmp_path / "out"), "0" * 16)
    found = list(listed(parse_input(str(path)), settings))
    images = [each for each in found if isinstance(each, Image)]
    assert [each.row for each in images] != sorted(each.row for each in images)
    (state,) = (each for each in found if isinstance(each, ListState))
    uris = list(read_uris(str(tmp_path / "out"), state))
    assert uris == [image.uri for image in sorted(images, key=lambda image: image.row)]
    assert uris == [
        *("mem://b/9.jpg", f"{folder}/a.jpg", "mem://b/1.jpg", f"{folder}/a.jpg", f"{path}#5"),
        *((folder / "b#1.zip#c.jpg").as_uri(), f"{tmp_path}/missing.jpg", "mem://b/9.jpg"),
        "mem://b/5/../x",
    ]


def test_a_list_that_breaks_off_is_an_error(tmp_path, memory_store, monkeypatch):
    """Blocks of its first rows may have been given to other workers by then."""
    monkeypatch.setattr("pipeline.inputs.lists.rows._SORTED_ROWS", 1000)
    path = tmp_path / "list.txt.gz"
    text = "".join(f"mem://b/{n}.jpg\n" for n in range(9000))
    path.write_bytes(gzip.compress(text.encode())[:-900])
    settings = ListSettings(ListOptions(), pa.schema([]), str(tmp_path / "out"), "0" * 16)
    found = listed(parse_input(str(path)), settings)
    assert {next(found).row for _ in range(1000)} == set(range(1, 1001))
    with pytest.raises(JobError, match="nothing was changed"):
        list(found)
    assert not (tmp_path / "out").exists()
