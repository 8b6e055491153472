import pytest

from encoder.errors import InputError
from encoder.storage.registry import store_for
from pipeline.inputs.files import list_files
from pipeline.inputs.source import parse_input
from tests.conftest import write_image


def listed(text):
    return sorted(image.uri for image in list_files(parse_input(str(text))))


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
        ("*.{jpg,png}", ["a.jpg", "b.PNG"]),
        ("*.JPG", ["a.jpg"]),
        ("*/*", ["sub/d.jpeg"]),
        ("sub/**", ["sub/d.jpeg", "sub/deep/e.jpg"]),
        ("{a,b}.*", ["a.jpg", "b.PNG"]),
        ("?.[jt]*", ["a.jpg", "c.txt"]),
        ("a.jpg", ["a.jpg"]),
        ("sub/d.jpe[a-g]", ["sub/d.jpeg"]),
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


@pytest.mark.parametrize("name", ["missing", "missing/*.jpg", "missing.jpg"])
def test_what_does_not_exist(tmp_path, name):
    with pytest.raises(InputError, match=r"--input .*missing"):
        parse_input(str(tmp_path / name))


def test_long_braces(tmp_path):
    write_image(tmp_path / "1234.jpg", 1)
    assert listed(f"{tmp_path}/{{0001..5000}}.jpg") == [f"{tmp_path}/1234.jpg"]


@pytest.mark.parametrize("text", ["ftp://bucket/x", "file://elsewhere/x", "gs://"])
def test_other_stores_are_refused(text):
    with pytest.raises(
        InputError, match=r"--input .*(unknown scheme ftp://|names no bucket|another machine)"
    ):
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


def test_what_is_packed_belongs_to_whoever_lists_the_archive(tmp_path):
    (tmp_path / "a.tar").touch()
    member = f"{tmp_path}/a.tar#x/1.jpg"
    assert parse_input(f"{tmp_path}").covers(member)
    assert parse_input(f"{tmp_path}/*.TAR").covers(member)
    assert parse_input(f"{tmp_path}/a.tar").covers(member)
    assert not parse_input(f"{tmp_path}/**/*.jpg").covers(member)


def test_folders_are_searched_for_archives_but_not_for_lists(tmp_path):
    names = ["a.tar", "b.tar.gz", "c.TGZ", "d.zip", "e.tfrecord", "f-00000-of-00002"]
    names += ["g.tfrecord-00001-of-00002", "h.csv", "i.txt", "j.parquet", "k.jsonl", ".l.zip"]
    for name in names:
        (tmp_path / name).touch()
    assert [uri.rpartition("/")[2] for uri in listed(tmp_path)] == names[:7]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.csv", "a.CSV", True),
        ("*.{jpg,txt}", "a.txt", True),
        ("a.txt", "a.txt", True),
        ("*", "a.txt", False),
        ("*.jpg", "a.txt", False),
        ("*.txt", "a.jpg", False),
        ("", "a.txt", False),
    ],
)
def test_a_glob_must_say_that_it_means_lists(tmp_path, pattern, name, expected):
    (tmp_path / name).touch()
    text = f"{tmp_path}/{pattern}"
    assert parse_input(text).takes_as_list(f"{tmp_path}/{name}") == expected
