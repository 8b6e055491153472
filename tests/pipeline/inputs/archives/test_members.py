"""The images that an archive holds, and when it is not opened at all."""

import pytest

from pipeline.inputs.archives.base import Packing
from pipeline.inputs.archives.members import list_members
from pipeline.records import DECODE, READ, Image, Known, KnownRow, Note
from pipeline.runs.notes import note_lines
from tests.support.packed import parquet, picture, tar, zipped

PLAIN = Packing()


@pytest.fixture
def archive(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", picture(1)), ("2.png", picture(2))])
    return Image(str(path), f"{path.stat().st_mtime_ns}-{path.stat().st_size}", 1, source="in")


def listed_file(path):
    return Image(str(path), f"{path.stat().st_mtime_ns}-{path.stat().st_size}", 1, source="in")


def row(archive, name, version=None, stage=None, committed=True, carried=None):
    uri = f"{archive.uri}#{name}" if name else archive.uri
    return KnownRow(uri, Known("p", version or archive.version, None, stage, committed, carried))


def listed(archive, *known, retry=False, packing=PLAIN):
    return {
        image.uri.removeprefix(archive.uri): (image.version, image.error)
        for image in list_members(archive, known, packing, retry)
    }


def test_a_new_archive_is_opened(archive):
    found = list(list_members(archive, [], PLAIN, False))
    assert [image.uri for image in found] == [f"{archive.uri}#1.png", f"{archive.uri}#2.png"]
    assert {image.version for image in found} == {archive.version}
    assert {(image.source, image.archive) for image in found} == {("in", archive.uri)}


def test_one_that_is_known_in_this_version_is_not(archive):
    known = [row(archive, "9.png"), row(archive, "8.png", stage=DECODE)]
    assert set(listed(archive, *known)) == {"#8.png", "#9.png"}


@pytest.mark.parametrize(
    ("row_options", "options"),
    [
        ({"version": "older"}, {}),
        ({"committed": False}, {}),  # a dead run may have read only a part of it
        ({"stage": READ}, {}),
        ({"stage": DECODE}, {"retry": True}),
    ],
)
def test_what_makes_it_necessary_to_open_it(archive, row_options, options):
    found = listed(archive, row(archive, "9.png", **row_options), **options)
    assert set(found) == {"#1.png", "#2.png"}


def test_columns_of_a_parquet_file_are_read_anew(tmp_path):
    import pyarrow as pa

    path = parquet(tmp_path / "a.parquet", [picture(1)], label=[7])
    archive = Image(str(path), f"{path.stat().st_mtime_ns}-{path.stat().st_size}", 1)
    packing = Packing(carried=pa.schema([("label", pa.int64())]))
    (image,) = list_members(archive, [row(archive, "0", carried=(None,))], packing, False)
    assert image.carried == (7,)
    (image,) = list_members(archive, [row(archive, "0")], PLAIN, False)
    assert image.carried is None


def test_records_that_are_read_in_another_way_are_other_images(tmp_path):
    path = parquet(tmp_path / "a.parquet", [picture(1)], other=[picture(2)])
    archive = Image(str(path), f"{path.stat().st_mtime_ns}-{path.stat().st_size}", 1)
    (image,) = list_members(archive, [], Packing("other"), False)
    assert image.version == f"{archive.version};image=other"
    known = row(archive, "0", version=image.version)
    assert next(list_members(archive, [known], Packing("other"), False)).version == image.version
    (image,) = list_members(archive, [known], Packing("image"), False)
    assert image.version == f"{archive.version};image=image"


def test_a_damaged_archive_is_a_failure_and_keeps_what_it_does_not_reach(archive, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(path.read_bytes()[:1600])
    state = path.stat()
    archive = archive._replace(version=f"{state.st_mtime_ns}-{state.st_size}")
    known = [
        row(archive, "1.png", version="older"),
        row(archive, "3.png", version="older"),
        row(archive, "4.png", version="older", stage=READ),
        row(archive, "5.png", version="older", committed=False),
    ]
    found = listed(archive, *known)
    assert found["#1.png"] == (archive.version, None)
    assert "unexpected end" in found[""][1]
    assert found["#3.png"] == ("older", None)
    assert "can't be read as far as this" in found["#4.png"][1]
    assert "#5.png" not in found
    # The next run takes them from the dataset, since the archive has not changed.
    known = [row(archive, "", stage=DECODE), row(archive, "1.png"), known[1]]
    assert listed(archive, *known) == {
        "": (archive.version, None),
        "#1.png": (archive.version, None),
        "#3.png": ("older", None),
    }


def test_an_archive_that_can_not_be_read_now(archive, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("encoder.storage.local.LocalStore.open", refuse)
    failure, stays = list_members(archive, [row(archive, "1.png", version="older")], PLAIN, False)
    assert (failure.stage, failure.error_type) == (READ, "PermissionError")
    assert (stays.uri, stays.version) == (f"{archive.uri}#1.png", "older")


def test_a_listing_error_deletes_nothing(archive):
    broken = archive._replace(error="broken link")
    failure, stays = list_members(broken, [row(archive, "1.png", version="older")], PLAIN, False)
    assert failure == broken
    assert (stays.uri, stays.version) == (f"{archive.uri}#1.png", "older")


@pytest.mark.parametrize("pack", [tar, zipped])
def test_what_an_archive_holds_besides_images_is_said(tmp_path, pack):
    files = [
        ("1.png", picture(1)),
        ("__MACOSX/1.png", b""),
        ("__MACOSX/._1.png", b""),
        ("1.json", b"{}"),
        ("s/inner.tar", b""),
        ("s/inner.tgz", b""),
        ("inner.zip", b""),
        ("x.parquet", b""),
    ]
    kind = pack.__name__.removesuffix("ped")
    path = pack(tmp_path / f"a.{kind}", files)
    found = list(list_members(listed_file(path), [], PLAIN, False))
    assert [each.uri for each in found if isinstance(each, Image)] == [f"{path}#1.png"]
    assert note_lines(each for each in found if isinstance(each, Note)) == [
        f"--input in: 3 files in {kind} archives left aside, hidden or without the name of an "
        f"image, such as {path}#__MACOSX/1.png",
        f"{path}: 4 archives in this archive left aside; unpack it to have them searched, such as "
        "s/inner.tar",
    ]


def test_an_archive_without_images_says_so(tmp_path):
    path = tar(tmp_path / "a.tar", [("a.txt", b"")])
    notes = list(list_members(listed_file(path), [], PLAIN, False))
    assert note_lines(notes)[-1] == f"{path}: holds no image"
