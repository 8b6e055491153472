import os

import pytest

from encoder.errors import InputError
from encoder.storage import store_for
from pipeline.inputs import parse_input
from tests.conftest import write_image


def listed(text):
    return sorted(image.uri for image in parse_input(str(text)).list_images())


@pytest.fixture
def tree(tmp_path):
    for name in (
        "a.jpg",
        "b.PNG",
        "c.txt",
        "sub/d.jpeg",
        "sub/deep/e.jpg",
        ".hidden/f.jpg",
        "._g.jpg",
    ):
        write_image(tmp_path / name, 1) if not name.endswith("txt") else (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.jpg", "b.PNG", "sub/d.jpeg", "sub/deep/e.jpg"]),
        ("*", ["a.jpg", "b.PNG", "c.txt"]),
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "sub/deep/e.jpg"]),
        ("*/*", ["sub/d.jpeg"]),
        ("sub/**", ["sub/d.jpeg", "sub/deep/e.jpg"]),
        ("{a,b}.*", ["a.jpg", "b.PNG"]),
        ("?.[jt]*", ["a.jpg", "c.txt"]),
        ("a.jpg", ["a.jpg"]),
    ],
)
def test_folders_globs_and_files(tree, pattern, expected):
    assert listed(f"{tree}/{pattern}") == [str(tree / name) for name in expected]


def test_covers_is_what_would_have_been_listed(tree):
    glob = parse_input(f"{tree}/sub/*.jpg")
    assert glob.covers(f"{tree}/sub/gone.jpg")
    assert not glob.covers(f"{tree}/gone.jpg")
    folder = parse_input(f"{tree}/sub")
    assert folder.covers(f"{tree}/sub/deep/gone.png")
    assert not folder.covers(f"{tree}/subway/gone.png")
    assert not folder.covers(f"{tree}/sub/gone.txt")
    assert parse_input(f"{tree}/a.jpg").covers(f"{tree}/a.jpg")


def test_a_name_that_exists_is_no_pattern(tmp_path):
    write_image(tmp_path / "photos [1]" / "a.jpg", 1)
    assert listed(tmp_path / "photos [1]") == [str(tmp_path / "photos [1]" / "a.jpg")]


def test_versions_follow_the_file(tmp_path):
    path = write_image(tmp_path / "a.jpg", 1)
    (before,) = parse_input(str(path)).list_images()
    assert before.bytes == path.stat().st_size
    os.utime(path, ns=(1, 1))
    (after,) = parse_input(str(path)).list_images()
    assert after.version == f"1-{before.bytes}" != before.version


def test_links(tmp_path):
    write_image(tmp_path / "real" / "a.jpg", 1)
    (tmp_path / "real" / "circle").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "broken.jpg").symlink_to("nowhere")
    images = {image.uri: image.error for image in parse_input(str(tmp_path / "real")).list_images()}
    assert images == {
        f"{tmp_path}/real/a.jpg": "",
        f"{tmp_path}/real/broken.jpg": "broken link to 'nowhere'",
    }


def test_names_that_are_not_utf8_are_reported(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    (image,) = parse_input(str(tmp_path)).list_images()
    assert image.uri.endswith("\\xff.jpg")
    assert "UTF-8" in image.error


@pytest.mark.parametrize("name", ["missing", "missing/*.jpg", "missing.jpg"])
def test_what_does_not_exist(tmp_path, name):
    with pytest.raises(InputError, match=r"--input .*missing"):
        parse_input(str(tmp_path / name))


def test_a_folder_that_vanishes_is_not_an_empty_one(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    parsed = parse_input(str(folder))
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        list(parsed.list_images())


def errors(text):
    return {image.uri: image.error for image in parse_input(str(text)).list_images()}


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    found = errors(tmp_path)
    assert found[f"{tmp_path}/pipe.jpg"] == "not a regular file"
    assert "symbolic links" in found[f"{tmp_path}/circle.jpg"]
    assert errors(tmp_path / "pipe.jpg") == {f"{tmp_path}/pipe.jpg": "not a regular file"}


def test_a_named_file_whose_name_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.jpg")
    path.touch()
    (error,) = errors(path).values()
    assert "UTF-8" in error


def test_the_output_is_not_listed(tmp_path):
    write_image(tmp_path / "a.jpg", 1)
    write_image(tmp_path / "out" / "b.jpg", 1)
    parsed = parse_input(f"{tmp_path}/**", excluding=str(tmp_path / "out"))
    assert [image.uri for image in parsed.list_images()] == [f"{tmp_path}/a.jpg"]
    assert not parsed.covers(f"{tmp_path}/out/c.jpg")


def test_long_braces(tmp_path):
    write_image(tmp_path / "1234.jpg", 1)
    assert listed(f"{tmp_path}/{{0001..5000}}.jpg") == [f"{tmp_path}/1234.jpg"]


@pytest.mark.parametrize("text", ["s3://bucket/x", "file:///x", "gs://"])
def test_other_stores_are_refused(text):
    with pytest.raises(InputError, match=r"only local paths and gs://|names no bucket"):
        parse_input(text)


def test_a_bucket(bucket):
    for name in ("a.jpg", "sub/b.png", "sub/c.txt"):
        store_for(bucket).write(f"{bucket}/photos/{name}", b"x")
    assert listed(f"{bucket}/photos") == [f"{bucket}/photos/a.jpg", f"{bucket}/photos/sub/b.png"]
    assert listed(f"{bucket}/photos/*") == [f"{bucket}/photos/a.jpg"]
    assert listed(f"{bucket}/photos/**/*.{{jpg,txt}}") == [
        f"{bucket}/photos/a.jpg",
        f"{bucket}/photos/sub/c.txt",
    ]
    assert listed(f"{bucket}/photos/a.jpg") == [f"{bucket}/photos/a.jpg"]
