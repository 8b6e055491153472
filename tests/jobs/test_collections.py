"""Whole runs over archives, mixed inputs and damaged files: every image is a row or a failure."""

import json
import os
import pathlib
import shutil
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.dataset.reader import open_dataset
from tests.conftest import write_image
from tests.support import folders
from tests.support.packed import example, parquet, picture, record, tar, zipped


@pytest.fixture
def everything(tmp_path):
    """The same four images in every kind of input."""
    base = tmp_path / "in"
    base.mkdir()
    files = [(f"{n}.png", picture(n)) for n in range(4)]
    for name, data in files:
        (base / "loose").mkdir(exist_ok=True)
        (base / "loose" / name).write_bytes(data)
    tar(base / "a.tar", files)
    tar(base / "b.tar.gz", files, "w:gz")
    zipped(base / "c.zip", files)
    (base / "d.tfrecord").write_bytes(
        b"".join(record(example(image=data, id=name)) for name, data in files)
    )
    parquet(base / "e.parquet", [data for _, data in files], id=[name for name, _ in files])
    (base / "f.txt").write_text("".join(f"loose/{name}\n" for name, _ in files))
    (base / "g.csv").write_text("uri\n" + "".join(f"loose/{name}\n" for name, _ in files))
    return base


def test_every_kind_of_input_gives_the_same_vectors(dataset, everything, tmp_path, monkeypatch):
    inputs = [everything, f"{everything}/*.parquet", f"{everything}/f.txt", f"{everything}/*.csv"]
    options = ["--id-feature", "id"]
    assert dataset.run(*inputs, options=options) == {"listed": 24, "new": 24, "embedded": 24}
    found = dataset.rows()
    for n in range(4):
        expected = found[f"in/loose/{n}.png"]
        for archive in ("a.tar", "b.tar.gz", "c.zip", "d.tfrecord", "e.parquet"):
            row = found[f"in/{archive}#{n}.png"]
            np.testing.assert_allclose(row["embedding"], expected["embedding"], rtol=1e-5)
            for name in ("sha256", "bytes", "width", "height"):
                assert row[name] == expected[name]
            state = (everything / archive).stat()
            version, _, read_as = row["version"].partition(";")
            assert version == f"{state.st_mtime_ns}-{state.st_size}"
            assert read_as == ("id=id" if archive in ("d.tfrecord", "e.parquet") else "")

    def never(*_):
        raise AssertionError("an archive that has not changed was opened")

    monkeypatch.setattr("pipeline.inputs.archives.members.index_archive", never)
    assert dataset.run(*inputs, options=options) == {"listed": 24, "unchanged": 24}
    assert dataset.run(everything / "loose") == {"listed": 4, "unchanged": 4}
    assert len(dataset.rows()) == 24


def test_an_archive_that_changes(dataset, tmp_path):
    path = tmp_path / "a.tar"
    tar(path, [("1.png", picture(1)), ("2.png", picture(2)), ("3.png", picture(3))])
    dataset.run(path)
    old = dataset.rows()
    tar(path, [("1.png", picture(1)), ("3.png", picture(33)), ("4.png", picture(4))])
    planned = "listed 3 new 1 changed 1 unchanged 1 resumed 0 deleted 1 copied 0"
    found = dataset.job(path, command="plan").out.split()
    assert found[: len(planned.split())] == planned.split()
    assert dataset.run(path) == {
        "listed": 3,
        "new": 1,
        "changed": 1,
        "unchanged": 1,  # its content is the same
        "deleted": 1,
        "embedded": 2,
    }
    new = dataset.rows()
    assert sorted(new) == ["a.tar#1.png", "a.tar#3.png", "a.tar#4.png"]
    assert new["a.tar#1.png"]["embedding"] == old["a.tar#1.png"]["embedding"]
    assert new["a.tar#3.png"]["embedding"] != old["a.tar#3.png"]["embedding"]
    path.unlink()
    write_image(tmp_path / "b" / "x.png", 1)
    message = dataset.run(tmp_path, code=1)
    assert "3 of the 3 known images are gone" in message
    assert "--allow-deletes" in message
    assert len(dataset.rows()) == 3
    assert dataset.run(tmp_path, options=["--allow-deletes"])["deleted"] == 3
    assert len(dataset.rows()) == 1


def test_a_tar_that_is_cut_keeps_what_it_had_and_is_a_failure(dataset, tmp_path):
    path = tmp_path / "a.tar"
    whole = tar(path, [(f"{n}.png", picture(n)) for n in range(9)]).read_bytes()
    dataset.run(path)
    path.write_bytes(whole[: 5 * 1024 + 600])  # in the sixth image
    counts = {"listed": 10, "changed": 1, "unchanged": 8, "new": 1, "failed": 2}
    assert dataset.run(path) == counts
    failed = dataset.rows("failures")
    assert sorted(failed) == ["a.tar", "a.tar#5.png"]
    assert failed["a.tar"]["stage"] == failed["a.tar#5.png"]["stage"] == "decode"
    assert "unexpected end of data" in failed["a.tar"]["message"]
    assert "the archive ends after 88 of this file's" in failed["a.tar#5.png"]["message"]
    assert len(dataset.rows()) == 8
    assert dataset.run(path) == {"listed": 10, "unchanged": 10}
    path.write_bytes(whole)
    counts = {"listed": 9, "changed": 1, "unchanged": 8, "embedded": 1, "deleted": 1}
    assert dataset.run(path) == counts
    assert dataset.rows("failures") == {}


def test_bad_things_in_archives_cost_only_themselves(dataset, tmp_path):
    good = picture(1)
    fine = [(f"fine{n}.png", good) for n in range(5)]
    tar(tmp_path / "a.tar", [*fine, ("cut.png", good[:-30]), ("text.jpg", b"hello")])
    data = bytearray(b"".join(record(example(image=picture(n))) for n in range(3)))
    data[len(record(example(image=picture(0)))) + 60] ^= 0xFF
    (tmp_path / "b.tfrecord").write_bytes(data)
    (tmp_path / "c.zip").write_bytes(b"hello")
    (tmp_path / "d.tar").touch()
    assert dataset.run(tmp_path) == {"listed": 12, "new": 12, "embedded": 7, "failed": 5}
    assert sorted(dataset.rows())[4:] == ["a.tar#fine4.png", "b.tfrecord#0", "b.tfrecord#2"]
    failed = dataset.rows("failures")
    assert {uri: row["error"] for uri, row in failed.items()} == {
        "a.tar#cut.png": "TruncatedError",
        "a.tar#text.jpg": "UnidentifiedImageError",
        "b.tfrecord#1": "ArchiveError",
        "c.zip": "ArchiveError",
        "d.tar": "ArchiveError",
    }
    assert {row["stage"] for row in failed.values()} == {"decode"}
    assert dataset.run(tmp_path) == {"listed": 12, "unchanged": 12}
    counts = {"listed": 12, "new": 5, "unchanged": 7, "failed": 5}
    assert dataset.run(tmp_path, options=["--retry-failures"]) == counts


def test_a_list_speaks_only_of_what_it_named_before(dataset, tmp_path):
    for n in range(6):
        write_image(tmp_path / "img" / f"{n}.png", n)
    one, two = tmp_path / "one.txt", tmp_path / "two.jsonl"
    one.write_text("img/0.png\nimg/1.png\nimg/2.png\nimg/none.png\n")
    two.write_text('{"uri": "img/3.png"}\n{"uri": "img/2.png"}\n')
    assert dataset.run(one) == {"listed": 4, "new": 4, "embedded": 3, "failed": 1}
    assert dataset.run(two) == {"listed": 2, "new": 1, "unchanged": 1, "embedded": 1}
    one.write_text("img/0.png\nimg/5.png\n")
    assert "deleted    2" in dataset.job(one, command="plan").out  # 1.png, none.png
    lists = sorted((tmp_path / "out" / "lists").rglob("*.parquet"))
    counts = {"listed": 2, "new": 1, "unchanged": 1, "deleted": 2, "embedded": 1}
    assert dataset.run(one, options=["--allow-deletes"]) == counts
    # The other list still names 2.png.
    assert sorted(dataset.rows()) == [f"img/{n}.png" for n in (0, 2, 3, 5)]
    assert dataset.rows("failures") == {}
    assert dataset.run(two) == {"listed": 2, "unchanged": 2}
    assert len(lists) == len(sorted((tmp_path / "out" / "lists").rglob("*.parquet"))) == 2
    one.write_text("")
    message = dataset.run(one, code=1)
    assert "no image was found" in message
    assert len(dataset.rows()) == 4
    assert dataset.run(one, options=["--allow-empty"]) == {"deleted": 2}


def test_a_list_that_can_not_be_read_changes_nothing(dataset, tmp_path):
    write_image(tmp_path / "a.png", 1)
    path = tmp_path / "m.csv"
    path.write_text("uri\na.png\n")
    dataset.run(path)
    path.write_text("file\na.png\n")
    message = dataset.run(path, code=2)
    assert "has no column 'uri'" in message
    message = dataset.run(f"{tmp_path}/*.csv", code=1)
    assert "has no column 'uri'" in message
    assert "m.csv" in message
    assert len(dataset.rows()) == 1


def test_columns_are_carried_over_with_their_types(dataset, tmp_path):
    for n in range(5):
        write_image(tmp_path / "img" / f"{n}.png", n)
    path = tmp_path / "m.csv"
    path.write_text("uri,label,score\n" + "".join(f"img/{n}.png,{n},{n}.5\n" for n in range(3)))
    dataset.run(tmp_path / "img")
    # Values of unchanged images are updated without embedding them again.
    counts = dataset.run(tmp_path / "img", path, options=["--keep", "label,score"])
    assert counts == {"listed": 5, "unchanged": 5}
    schema = ds.dataset(tmp_path / "out" / "embeddings").schema
    assert schema.names[-3:] == ["sha256", "label", "score"]
    assert schema.types[-2:] == [pa.int64(), pa.float64()]
    found = dataset.rows()
    assert (found["img/2.png"]["label"], found["img/2.png"]["score"]) == (2, 2.5)
    assert found["img/4.png"]["label"] is None
    # A run without --keep does not change them. A changed value is taken over.
    write_image(tmp_path / "img" / "5.png", 5)
    assert dataset.run(tmp_path / "img") == {"listed": 6, "new": 1, "unchanged": 5, "embedded": 1}
    path.write_text("uri,label,score\nimg/0.png,70,0.5\nimg/5.png,5,5\n")
    parts = sorted((tmp_path / "out" / "embeddings").rglob("*.parquet"))
    assert len(parts) == 2
    dataset.run(tmp_path / "img", path, options=["--keep", "score", "--keep", "label"])
    found = dataset.rows()
    assert {uri: row["label"] for uri, row in found.items()} == {
        "img/0.png": 70,
        "img/1.png": 1,
        "img/2.png": 2,
        "img/5.png": 5,
        "img/3.png": None,
        "img/4.png": None,
    }
    before = sorted((tmp_path / "out" / "embeddings").rglob("*.parquet"))
    dataset.run(tmp_path / "img", path, options=["--keep", "score,label"])
    assert sorted((tmp_path / "out" / "embeddings").rglob("*.parquet")) == before
    frame = pd.read_parquet(tmp_path / "out" / "embeddings")
    assert frame["label"].count() == 4
    assert open_dataset(tmp_path / "out").to_table().num_rows == 6


def test_columns_of_a_parquet_file_of_images(dataset, tmp_path):
    path = parquet(tmp_path / "a.parquet", [picture(1), picture(2)], label=["x", None])
    assert dataset.run(path)["embedded"] == 2
    assert dataset.run(path, options=["--keep", "label"]) == {"listed": 2, "unchanged": 2}
    assert [row["label"] for row in dataset.rows().values()] == ["x", None]
    assert dataset.run(path) == {"listed": 2, "unchanged": 2}
    assert [row["label"] for row in dataset.rows().values()] == ["x", None]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("nothing", "--keep: .*has no column 'nothing'; it has uri, label, width"),
        ("width", "--keep width: every dataset has a column 'width'"),
        ("label,label", "--keep names a column twice"),
    ],
)
def test_columns_that_can_not_be_carried(dataset, tmp_path, keep, message):
    import re

    path = tmp_path / "m.csv"
    path.write_text("uri,label,width\na.png,1,2\n")
    assert re.search(message, dataset.run(path, options=["--keep", keep], code=2))
    (tmp_path / "img").mkdir()
    err = dataset.run(tmp_path / "img", options=["--keep", "label"], code=2)
    assert "--keep label: no input is a manifest" in err


def test_a_column_that_has_another_type_in_the_dataset(dataset, tmp_path):
    write_image(tmp_path / "a.png", 1)
    path = tmp_path / "m.csv"
    path.write_text("uri,label\na.png,1\n")
    dataset.run(path, options=["--keep", "label"])
    path.write_text("uri,label\na.png,word\n")
    assert "label" in dataset.run(path, options=["--keep", "label"], code=2)
    assert dataset.rows()["a.png"]["label"] == 1


def test_limits(dataset, tmp_path):
    write_image(tmp_path / "img" / "small.png", 1, size=(10, 10))
    write_image(tmp_path / "img" / "large.png", 2, size=(100, 100))
    options = ["--max-pixels", 9999]
    assert dataset.run(tmp_path / "img", options=options)["failed"] == 1
    assert "--max-pixels" in dataset.rows("failures")["img/large.png"]["message"]
    shutil.rmtree(tmp_path / "out")
    small = (tmp_path / "img" / "small.png").stat().st_size
    assert dataset.run(tmp_path / "img", options=["--max-bytes", small])["failed"] == 1
    assert "--max-bytes" in dataset.rows("failures")["img/large.png"]["message"]
    assert "--max-bytes is 0" in dataset.run(tmp_path / "img", options=["--max-bytes", 0], code=2)


def test_truncated_images_are_embedded_only_on_request_and_the_row_says_so(dataset, tmp_path):
    whole = write_image(tmp_path / "img" / "whole.jpg", 1, size=(200, 200))
    data = whole.read_bytes()
    (tmp_path / "img" / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    # libjpeg fills this image with gray and warns; Pillow reports nothing
    (tmp_path / "img" / "gray.jpg").write_bytes(data[: len(data) * 2 // 3] + b"\xff\xd9")
    counts = dataset.run(tmp_path / "img", options=["--max-failure-ratio", "0.9"])
    assert counts == {"listed": 3, "new": 3, "embedded": 1, "failed": 2}
    assert set(dataset.rows("failures")) == {"img/cut.jpg", "img/gray.jpg"}
    counts = dataset.run(tmp_path / "img", options=["--allow-truncated", "--retry-failures"])
    assert counts == {"listed": 3, "new": 2, "unchanged": 1, "embedded": 2}
    found = dataset.rows()
    assert {uri: row["truncated"] for uri, row in found.items()} == {
        "img/whole.jpg": False,
        "img/cut.jpg": True,
        "img/gray.jpg": True,
    }


def test_a_dirty_file_system(dataset, tmp_path):
    base = os.fsencode(tmp_path / "img")
    names = [b"a b.png", b"c#d.png", b"50%.png", b"[1].png", b"new\nline.png", b"\xff\xfe.png"]
    names += ["\N{CAT FACE}.PNG".encode(), b"x.jpg/inside.png", b"t.tar#m.png", b"-dash.png"]
    for seed, name in enumerate(names):
        path = base + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pathlib.Path(os.fsdecode(path)).write_bytes(picture(seed))
    folder = tmp_path / "img"
    (folder / "broken.png").symlink_to("nowhere")
    (folder / "self").symlink_to(".")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "zero.jpg").touch()
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "notes.txt").write_text("no image")
    assert dataset.run(folder) == {"listed": 15, "new": 15, "embedded": 10, "failed": 5}
    found = dataset.rows()
    assert "file://" in next(uri for uri in found if "%FF" in uri)
    assert sorted(dataset.rows("failures")) == [
        f"img/{name}" for name in ("broken.png", "circle.png", "pipe.jpg", "sparse.jpg", "zero.jpg")
    ]
    assert dataset.run(folder)["unchanged"] == 12  # listing errors are tried again
    for name in names:
        os.remove(base + b"/" + name)
    write_image(folder / "last.png", 1)
    assert dataset.run(folder, options=["--allow-deletes"])["deleted"] == 10


def test_a_folder_that_may_not_be_entered_loses_nothing(dataset, tmp_path, monkeypatch):
    for name in ("open/a.png", "closed/b.png", "closed/c.png"):
        write_image(tmp_path / "img" / name, len(name))
    tar(tmp_path / "img" / "closed" / "d.tar", [("e.png", picture(1))])
    dataset.run(tmp_path / "img")
    folders.close(monkeypatch, "closed")
    assert dataset.run(tmp_path / "img") == {"listed": 2, "new": 1, "unchanged": 1, "failed": 1}
    assert dataset.rows("failures")["img/closed/"]["message"] == "Permission denied"
    assert len(dataset.rows()) == 4
    monkeypatch.undo()
    assert dataset.run(tmp_path / "img") == {"listed": 4, "unchanged": 4, "deleted": 1}


def test_files_that_vanish_or_change_after_listing(dataset, tmp_path, monkeypatch):
    for n in range(6):
        write_image(tmp_path / "img" / f"{n}.png", n)
    path = tar(tmp_path / "img" / "a.tar", [("x.png", picture(1)), ("y.png", picture(2))])
    from pipeline.steps import read as embed_steps

    sort = embed_steps._place

    def meddle(todo):
        if (tmp_path / "img" / "0.png").exists():
            (tmp_path / "img" / "0.png").unlink()
            (tmp_path / "img" / "1.png").write_bytes(picture(99))
            path.write_bytes(path.read_bytes() + bytes(512))
        return sort(todo)

    monkeypatch.setattr("pipeline.steps.read._place", meddle)
    assert dataset.run(tmp_path / "img") == {"listed": 8, "new": 8, "embedded": 5, "failed": 3}
    failed = dataset.rows("failures")
    assert {uri: row["stage"] for uri, row in failed.items()} == dict.fromkeys(
        ("img/0.png", "img/a.tar#x.png", "img/a.tar#y.png"), "read"
    )
    state = (tmp_path / "img" / "1.png").stat()
    assert dataset.rows()["img/1.png"]["version"] == f"{state.st_mtime_ns}-{state.st_size}"
    monkeypatch.undo()
    counts = {"listed": 7, "changed": 2, "unchanged": 5, "deleted": 1, "embedded": 2}
    assert dataset.run(tmp_path / "img") == counts


def test_the_same_image_reached_twice_is_one_row(dataset, everything):
    inputs = [everything / "loose", f"{everything}/**/*.png", f"{everything}/f.txt"]
    inputs += [f"{everything}/a.tar", f"{everything}/*.tar", f"{everything}/loose/1.png"]
    assert dataset.run(*inputs) == {"listed": 8, "new": 8, "embedded": 8}


@pytest.mark.long
def test_archives_with_workers_in_several_processes(dataset, everything, tmp_path):
    workers = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    counts = dataset.run(everything, options=workers)
    assert counts == {"listed": 20, "new": 20, "embedded": 20}


def test_a_webdataset_folder_of_shards(dataset, tmp_path):
    for shard in range(3):
        files = [
            (f"{shard}{n:03}.{ending}", data)
            for n in range(10)
            for ending, data in (("jpg", picture(n, "JPEG")), ("cls", b"1"), ("json", b"{}"))
        ]
        tar(tmp_path / "in" / f"shard-{shard}.tar", files) if shard else (tmp_path / "in").mkdir()
    assert dataset.run(f"{tmp_path}/in/shard-{{1..2}}.tar")["embedded"] == 20
    with tarfile.open(tmp_path / "in" / "shard-1.tar", "a") as archive:
        info = tarfile.TarInfo("late.jpg")
        info.size = len(picture(50, "JPEG"))
        import io

        archive.addfile(info, io.BytesIO(picture(50, "JPEG")))
    counts = dataset.run(f"{tmp_path}/in/*.tar")
    assert counts == {"listed": 21, "new": 1, "unchanged": 20, "embedded": 1}


def test_a_list_of_archives(dataset, tmp_path):
    for n in range(3):
        tar(tmp_path / f"{n}.tar", [("a.png", picture(n)), ("b.png", picture(n + 10))])
    path = tmp_path / "shards.csv"
    path.write_text("uri,day\n0.tar,5\n1.tar,6\n")
    assert dataset.run(path, options=["--keep", "day"])["embedded"] == 4
    path.write_text("uri,day\n1.tar,7\n2.tar,8\n")
    counts = {"listed": 4, "new": 2, "unchanged": 2, "deleted": 2, "embedded": 2}
    assert dataset.run(path, options=["--keep", "day"]) == counts
    assert {uri: row["day"] for uri, row in dataset.rows().items()} == {
        "1.tar#a.png": 7,
        "1.tar#b.png": 7,
        "2.tar#a.png": 8,
        "2.tar#b.png": 8,
    }


def test_a_run_over_archives_that_died_is_taken_up(dataset, everything, tmp_path, monkeypatch):
    from pipeline.errors import JobError

    def die(*_):
        raise JobError("killed before the commit")

    monkeypatch.setattr("pipeline.steps.commit.commit", die)
    assert "killed" in dataset.run(everything, code=1)
    monkeypatch.undo()
    tar(everything / "a.tar", [("0.png", picture(0)), ("9.png", picture(9))])
    counts = dataset.run(everything)
    # One image of the new archive has known content. The dead run had embedded the others.
    assert counts == {"listed": 18, "new": 1, "unchanged": 1, "resumed": 16, "embedded": 1}
    assert len(dataset.rows()) == 18
    assert "a.tar#1.png" not in {uri.rpartition("/")[2] for uri in dataset.rows()}


def test_one_photograph_in_many_forms_has_one_vector(dataset, tmp_path):
    """Lossless formats, 16 bits and the eight EXIF orientations, in a whole job."""
    from tests.support.image_files import photograph, png, saved

    photo = photograph(300, 200)
    pixels = np.asarray(photo)
    base = tmp_path / "img"
    base.mkdir()
    for kind, options in (
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ):
        (base / f"{kind.lower()}.png").write_bytes(saved(photo, kind, **options))
    (base / "sixteen.png").write_bytes(png(pixels.astype(np.uint16) * 257, bits=16))
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels, -1),
    }
    for orientation, stored in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(stored))
        (base / f"turned{orientation}.png").write_bytes(saved(image, "PNG", exif=exif))
    assert dataset.run(base) == {"listed": 13, "new": 13, "embedded": 13}
    vectors = np.array([row["embedding"] for row in dataset.rows().values()])
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], vectors.shape), rtol=1e-5)


@pytest.mark.long
def test_a_tree_of_a_hundred_thousand_files(dataset, tmp_path):
    """One plan for all files, in folders with one file each and with many files."""
    picture_bytes = picture(1)
    for n in range(1000):
        folder = tmp_path / "in" / f"{n % 10}" / f"{n}" / "deep" / "er"
        folder.mkdir(parents=True)
        first = folder / "0.png"
        first.write_bytes(picture_bytes)
        for k in range(1, 100):
            os.link(first, folder / f"{k}.png")
    planned = dataset.job(tmp_path / "in", command="plan").out.split()
    assert planned[:4] == ["listed", "100000", "new", "100000"] or planned[1] == "100,000"
    shutil.rmtree(tmp_path / "in")


def test_names_that_are_not_utf8_in_all_places(dataset, tmp_path):
    """In a folder, a glob, a file, a list and an archive, and in the text of a failure."""
    odd = tmp_path / os.fsdecode(b"\xff")
    (odd / "img").mkdir(parents=True)
    (odd / "img" / "a.png").write_bytes(picture(1))
    (odd / "bad.png").write_text("hello")
    (odd / "list.txt").write_text("img/a.png\nftp://x/y.png\n")
    tar(odd / "b.tar", [("c.png", picture(2)), ("d.png", picture(3))])
    expected = {"listed": 4, "new": 4, "embedded": 3, "failed": 1}
    assert dataset.run(odd) == expected
    found = dataset.rows()
    assert len(found) == 3
    assert all(uri.startswith("file://") for uri in found)
    assert dataset.run(odd / "b.tar") == {"listed": 2, "unchanged": 2}
    assert dataset.run(f"{odd}/*.tar") == {"listed": 2, "unchanged": 2}
    counts = {"listed": 2, "new": 1, "unchanged": 1, "failed": 1}
    assert dataset.run(odd / "list.txt", options=["--max-failure-ratio", "0.6"]) == counts
    (odd / "list.txt").write_text("img/a.png\n")
    assert dataset.run(odd / "list.txt") == {"listed": 1, "unchanged": 1, "deleted": 1}


def test_an_archive_that_two_inputs_reach_loses_a_member(dataset, tmp_path):
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    tar(path, [("1.png", picture(1)), ("2.png", picture(2))])
    manifest = tmp_path / "m.csv"
    manifest.write_text("uri,label\nin/a.tar,x\n")
    options = ["--keep", "label"]
    assert dataset.run(path.parent, path, manifest, options=options)["embedded"] == 2
    assert {row["label"] for row in dataset.rows().values()} == {"x"}
    tar(path, [("1.png", picture(1))])
    counts = {"listed": 1, "unchanged": 1, "deleted": 1}
    assert dataset.run(path.parent, path, manifest, options=options) == counts


def test_another_feature_is_another_image(dataset, tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(example(left=picture(1), right=picture(2), id="x")))
    dataset.run(path, options=["--image-feature", "left"])
    old = dataset.rows()["a.tfrecord#0"]
    counts = {"listed": 1, "changed": 1, "embedded": 1}
    assert dataset.run(path, options=["--image-feature", "right"]) == counts
    assert dataset.rows()["a.tfrecord#0"]["embedding"] != old["embedding"]
    counts = {"listed": 1, "new": 1, "deleted": 1, "embedded": 1}
    options = ["--image-feature", "left", "--id-feature", "id", "--allow-deletes"]
    assert dataset.run(path, options=options) == counts
    assert list(dataset.rows()) == ["a.tfrecord#x"]


def test_carried_values_outlive_a_run_that_does_not_know_them(dataset, tmp_path):
    write_image(tmp_path / "img" / "a.png", 1)
    path = tmp_path / "m.csv"
    path.write_text("uri,label,split\nimg/a.png,7,train\n")
    dataset.run(path, options=["--keep", "label,split"])
    write_image(tmp_path / "img" / "a.png", 2)
    assert dataset.run(tmp_path / "img")["changed"] == 1
    row = dataset.rows()["img/a.png"]
    assert (row["label"], row["split"]) == (7, "train")
    path.write_text("uri,label\nimg/a.png,8\n")
    dataset.run(path, options=["--keep", "label"])
    row = dataset.rows()["img/a.png"]
    assert (row["label"], row["split"]) == (8, "train")


def test_a_damaged_parquet_file_costs_itself(dataset, tmp_path):
    for name in ("a", "b"):
        parquet(tmp_path / f"{name}.parquet", [picture(1), picture(2)], label=[1, 2])
    path = tmp_path / "a.parquet"
    data = bytearray(path.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[footer : footer + 30] = b"\xff" * 30
    path.write_bytes(data)
    for options in ([], ["--keep", "label"]):
        counts = dataset.run(f"{tmp_path}/*.parquet", options=options)
        assert counts["listed"] == 3
    assert list(dataset.rows("failures")) == ["a.parquet"]
    assert dataset.rows("failures")["a.parquet"]["stage"] == "decode"


def test_a_manifest_with_digests_is_no_archive(dataset, tmp_path):
    write_image(tmp_path / "a.png", 1)
    table = pa.table({"uri": ["a.png"], "digest": [b"123"]})
    pq.write_table(table, tmp_path / "m.parquet")
    assert dataset.run(tmp_path / "m.parquet")["embedded"] == 1
    assert list(dataset.rows()) == ["a.png"]


@pytest.mark.parametrize(
    "options",
    [(), ("--direct_num_workers=2", "--direct_running_mode=multi_threading")],
    ids=["one thread", "two threads"],
)
def test_copied_renamed_and_repacked_images_need_no_model(dataset, tmp_path, monkeypatch, options):
    for n in range(5):
        write_image(tmp_path / "img" / f"{n}.png", n, size=(30 + n, 20))
    dataset.run(tmp_path / "img")
    old = dataset.rows()

    def never(*_):
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr("pipeline.embedding.handler.EncoderHandler.load_encoder", never)
    (tmp_path / "img" / "0.png").rename(tmp_path / "img" / "new.png")
    shutil.copy(tmp_path / "img" / "1.png", tmp_path / "img" / "copy.png")
    shutil.copy(tmp_path / "img" / "2.png", tmp_path / "img" / "3.png")
    tar(tmp_path / "img" / "a.tar", [("4.png", (tmp_path / "img" / "4.png").read_bytes())])
    counts = {"listed": 7, "new": 3, "changed": 1, "unchanged": 3, "deleted": 1, "embedded": 4}
    assert dataset.run(tmp_path / "img", options=options) == counts
    new = dataset.rows()
    for uri, source in (("new", 0), ("copy", 1), ("3", 2), ("a.tar#4", 4)):
        row, origin = new[f"img/{uri}.png"], old[f"img/{source}.png"]
        for name in ("embedding", "sha256", "width", "height", "bytes"):
            assert row[name] == origin[name]
    record = json.loads(
        max((tmp_path / "out" / "runs").iterdir(), key=os.path.getmtime).read_text()
    )
    assert (record["copied"], record["encoder_loads"]) == (4, 0)


def test_a_run_with_nothing_to_do_loads_no_encoder(dataset, tmp_path, monkeypatch):
    write_image(tmp_path / "img" / "a.png", 1)
    dataset.run(tmp_path / "img")
    monkeypatch.setattr("pipeline.embedding.handler.load", lambda *_, **__: pytest.fail("loaded"))
    assert dataset.run(tmp_path / "img") == {"listed": 1, "unchanged": 1}


def test_the_log_of_changes(dataset, tmp_path, monkeypatch):
    """The changes of each run, and the combined changes of several runs."""
    from pipeline.dataset.changes import changes_since
    from pipeline.errors import JobError

    def since(run):
        found = changes_since(str(tmp_path / "out"), run)
        return {each.uri.rpartition("/")[2]: each.change for each in found}

    img = tmp_path / "img"
    for n in range(4):
        write_image(img / f"{n}.png", n)
    dataset.run(img, options=["--run-id", "r1"])
    assert since("") == {f"{n}.png": "added" for n in range(4)}
    assert since("r1") == {}
    write_image(img / "0.png", 50)
    (img / "1.png").write_text("broken")
    os.utime(img / "2.png", ns=(1, 1))
    (img / "3.png").rename(img / "3b.png")
    dataset.run(img, options=["--run-id", "r2"])
    expected = {
        "0.png": "changed",
        "1.png": "removed",
        "3.png": "removed",
        "3b.png": "added",
    }
    assert since("r1") == expected
    (img / "0.png").unlink()
    (img / "3b.png").rename(img / "3.png")
    write_image(img / "1.png", 60)
    write_image(img / "new.png", 70)

    def die(*_):
        raise JobError("killed before the commit")

    monkeypatch.setattr("pipeline.steps.commit.commit", die)
    dataset.run(img, options=["--run-id", "dead"], code=1)
    monkeypatch.undo()
    assert since("r1") == expected
    dataset.run(img, options=["--run-id", "r3"])
    assert since("r2") == {
        "0.png": "removed",
        "1.png": "added",
        "3.png": "added",
        "3b.png": "removed",
        "new.png": "added",
    }
    assert since("r1") == {
        "0.png": "removed",
        "1.png": "changed",
        "3.png": "changed",
        "new.png": "added",
    }
    manifest = tmp_path / "m.csv"
    manifest.write_text("uri,label\nimg/1.png,7\n")
    dataset.run(img, manifest, options=["--run-id", "r4", "--keep", "label"])
    assert since("r3") == {"1.png": "changed"}  # its label has changed
    logs = {path.parent.name for path in (tmp_path / "out" / "changes").rglob("*.parquet")}
    assert logs == {"run=r1", "run=r2", "run=r3", "run=r4"}
    with pytest.raises(ValueError, match="--since 'r9': no such run"):
        since("r9")


def test_the_log_of_changes_of_touched_images(dataset, tmp_path, monkeypatch):
    """A new version of the same content is a change only if a carried value has changed."""
    from pipeline.errors import JobError

    def logged(run):
        paths = (tmp_path / "out" / "changes").rglob(f"run={run}/*.parquet")
        rows = [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]
        return sorted((row["uri"].rpartition("/")[2], row["change"]) for row in rows)

    def run(name, labels, code=0):
        rows = "".join(f"img/{n}.png,{label}\n" for n, label in enumerate(labels))
        (tmp_path / "m.csv").write_text("uri,label\n" + rows)
        return dataset.run(
            tmp_path / "m.csv", options=["--run-id", name, "--keep", "label"], code=code
        )

    def touch(*numbers):
        for n in numbers:
            os.utime(tmp_path / "img" / f"{n}.png", ns=(1, n + 1))

    def die(*_):
        raise JobError("killed before the commit")

    for n in range(4):
        write_image(tmp_path / "img" / f"{n}.png", n)
    monkeypatch.setattr("pipeline.steps.commit.commit", die)
    run("dead", "a", code=1)
    monkeypatch.undo()
    touch(0)
    run("r1", "aaaa")
    assert logged("r1") == [(f"{n}.png", "added") for n in range(4)]
    touch(1, 2)
    write_image(tmp_path / "img" / "3.png", 50)
    run("r2", "abab")
    assert logged("r2") == [("1.png", "changed"), ("3.png", "changed")]


def test_what_a_run_leaves_aside_is_said(dataset, tmp_path):
    folder = tmp_path / "img"
    for name in ("a.png", "@eaDir/a.png", "#recycle/b.png", "s/.cache/c.png"):
        write_image(folder / name, len(name))
    (folder / "x.ppm").write_bytes(picture(1, "PPM"))
    inner = tar(tmp_path / "inner.tar", [("2.png", picture(2))]).read_bytes()
    tar(folder / "t.tar", [("1.png", picture(1)), ("inner.tar", inner)])
    (tmp_path / "none").mkdir()
    (tmp_path / "list.txt").touch()
    inputs = [folder, tmp_path / "none", tmp_path / "list.txt"]
    output = dataset.job(*inputs, options=["--exclude", "nothing"])
    assert output.code == 0, output.err
    assert sorted(dataset.rows()) == ["img/a.png", "img/t.tar#1.png"]
    notes = dataset.record()["notes"]
    for expected in (
        "--exclude 'nothing': matched 0 paths",
        f"--input {folder}: 1 file left aside with the extension .ppm; --include '*.ppm' takes",
        f"--input {folder}: 1 hidden path left aside",
        f"--input {folder}: 2 folders of a NAS or a system left aside (#recycle, @eaDir)",
        f"--input {tmp_path}/none: finds nothing",
        f"--input {tmp_path}/list.txt: 1 list without a row",
        f"{folder}/t.tar: 1 archive in this archive left aside",
    ):
        assert [note for note in notes if note.startswith(expected)], (expected, notes)
        assert f"note: {expected}" in output.out
    assert len(notes) == 7


def test_include_and_exclude(dataset, tmp_path):
    folder = tmp_path / "img"
    for name in ("a.png", "a_thumb.png", "tmp/b.png", "s/c.png"):
        write_image(folder / name, len(name))
    (folder / "x.ppm").write_bytes(picture(1, "PPM"))
    options = ["--exclude", "*_thumb*", "--exclude", "tmp/**", "--include", "*.ppm"]
    assert dataset.run(folder, options=options)["embedded"] == 3
    assert sorted(dataset.rows()) == ["img/a.png", "img/s/c.png", "img/x.ppm"]
    assert dataset.run(folder)["new"] == 2
    # What is left out counts as gone.
    assert dataset.run(folder, options=options)["deleted"] == 2
    assert sorted(dataset.rows()) == ["img/a.png", "img/s/c.png", "img/x.ppm"]
    for option, pattern in (("--exclude", "//"), ("--include", "a/../b"), ("--exclude", "/")):
        message = dataset.run(folder, options=[option, pattern], code=2)
        assert f"{option} {pattern!r} matches no file" in message


def test_images_of_unusual_names_are_taken_if_they_are_named(dataset, tmp_path):
    folder = tmp_path / "img"
    folder.mkdir()
    names = ["a.jpg_large", "b.jpg?size=large", "c.jpg:large", "d.jpg.1", "e", "f.webp", "g.PPM"]
    for seed, name in enumerate(names):
        (folder / name).write_bytes(picture(seed, "PPM" if name == "g.PPM" else "JPEG"))
    assert dataset.run(folder)["embedded"] == 1
    assert len(dataset.record()["notes"]) == 6
    (tmp_path / "list.txt").write_text("".join(f"img/{name}\n" for name in names))
    assert dataset.run(tmp_path / "list.txt") == {
        "listed": 7,
        "new": 6,
        "unchanged": 1,
        "embedded": 6,
    }
    assert dataset.run(f"{folder}/*")["unchanged"] == 7
    included = ["*.jpg_large", "*.jpg?size=large", "*.jpg:large", "*.1", "e", "*.ppm"]
    options = [word for pattern in included for word in ("--include", pattern)]
    assert dataset.run(folder, options=options)["unchanged"] == 7
    assert dataset.run(folder / "b.jpg?size=large")["unchanged"] == 1


def test_one_image_has_one_uri(dataset, tmp_path):
    write_image(tmp_path / "a b" / "p.png", 1)
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "a b" / "link").symlink_to(tmp_path / "far" / "deep")
    write_image(tmp_path / "far" / "q.png", 2)
    forms = [f"/{tmp_path}/a b/p.png", f"file:///{tmp_path}/a%20b/p.png", "a b//p.png"]
    forms += [f"file:{tmp_path}/a%20b/p.png", f"FILE://localhost{tmp_path}/a%20b/./p.png"]
    forms += ["./a b/../a b/p.png", f"{tmp_path}/far/../a b/p.png"]
    (tmp_path / "list.txt").write_text("\n".join([*forms, "a b/link/../q.png"]))
    inputs = [tmp_path / "list.txt", *(form for form in forms if not form.startswith(("a", ".")))]
    assert dataset.run(*inputs, f"/{tmp_path}/a b/") == {"listed": 2, "new": 2, "embedded": 2}
    assert sorted(dataset.rows()) == ["a b/p.png", "far/q.png"]
