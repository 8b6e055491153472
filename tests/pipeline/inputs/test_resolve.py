import os
import threading

import pyarrow as pa
import pytest

from encoder.storage import registry
from encoder.storage.base import FileInfo
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
    found = [e for e in listed(source, settings) if isinstance(e, Image)]
    assert [each.error is not None for each in found] == [False, True, False]
    release.set()
