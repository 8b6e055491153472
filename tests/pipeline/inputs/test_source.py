import threading

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


def test_folders_that_exist_are_literal_at_the_beginning_of_a_glob(tmp_path):
    for name in ("shoot [1]/a.jpg", "shoot [1]/s [2]/b.jpg", "shoot {x}/c.jpg", "what?/d.jpg"):
        write_image(tmp_path / name, 1)
    for pattern, expected in {
        "shoot [1]/*.jpg": ["shoot [1]/a.jpg"],
        "shoot [1]/**/*.jpg": ["shoot [1]/a.jpg", "shoot [1]/s [2]/b.jpg"],
        "shoot [1]/s [2]/*": ["shoot [1]/s [2]/b.jpg"],
        "shoot [1]/*/*": ["shoot [1]/s [2]/b.jpg"],
        "shoot {x}/*": ["shoot {x}/c.jpg"],
        "what?/*.jpg": ["what?/d.jpg"],
        "shoot [[]1]/*.jpg": ["shoot [1]/a.jpg"],
    }.items():
        assert listed(f"{tmp_path}/{pattern}") == [f"{tmp_path}/{name}" for name in expected]
    write_image(tmp_path / "shoot 3" / "e.jpg", 1)
    assert listed(f"{tmp_path}/shoot [3]/*.jpg") == [f"{tmp_path}/shoot 3/e.jpg"]


def test_brackets_in_a_bucket(bucket):
    names = ["shoot [1]/a.jpg", "shoot [1]/s [2]/b.jpg", "img[1].jpg", "shoot 3/e.jpg", "odd_name"]
    for name in names:
        store_for(bucket).write(f"{bucket}/p/{name}", b"x")
    for pattern, expected in {
        "shoot [1]/*.jpg": names[:1],
        "shoot [1]/s [2]/*": names[1:2],
        "shoot [1]": names[:2],
        "img[1].jpg": names[2:3],
        "shoot [3]/*.jpg": names[3:4],
        "odd_name": names[4:],  # an object is taken by name, whatever its extension
        "odd_name/": [],
    }.items():
        assert listed(f"{bucket}/p/{pattern}") == [f"{bucket}/p/{name}" for name in expected]
    store_for(bucket).write(f"{bucket}/p/data.parquet/part-0.parquet", b"x")
    assert not parse_input(f"{bucket}/p/data.parquet").is_file
    assert parse_input(f"{bucket}/p/gone.jpg").is_file
    with pytest.raises(InputError, match="the name of a bucket has no wildcards"):
        parse_input("gs://buck*/x.jpg")


def test_leftovers_are_taken_only_by_name(tmp_path):
    for name in ("a.jpg", "@eaDir/b.jpg", "s/#RECYCLE/c.jpg", "$RECYCLE.BIN/d.jpg"):
        write_image(tmp_path / name, 1)
    for pattern in ("", "*", "**", "**/*.jpg", "{*,s}*"):
        assert listed(f"{tmp_path}/{pattern}") == [f"{tmp_path}/a.jpg"]
    assert listed(tmp_path / "@eaDir") == [f"{tmp_path}/@eaDir/b.jpg"]
    assert listed(f"{tmp_path}/@eaDir/*.jpg") == [f"{tmp_path}/@eaDir/b.jpg"]
    assert listed(f"{tmp_path}/*/#RECYCLE/*") == [f"{tmp_path}/s/#RECYCLE/c.jpg"]
    assert listed(f"{tmp_path}/@eaDir/b.jpg") == [f"{tmp_path}/@eaDir/b.jpg"]


def listed_with(text, **options):
    return sorted(image.uri for image in list_files(parse_input(str(text), **options)))


def test_include_and_exclude(tree):
    (tree / "x.ppm").touch()
    write_image(tree / "sub" / "@eaDir" / "g.jpg", 1)
    images = ["a.jpg", "b.PNG", "sub/d.jpeg", "sub/deep/e.jpg"]
    for options, expected in (
        ({"exclude": ("deep",)}, images[:3]),
        ({"exclude": ("sub/*",)}, images[:2]),
        ({"exclude": ("/d.jpeg", "*.png")}, [images[0], *images[2:]]),
        ({"include": ("*.ppm",)}, [*images, "x.ppm"]),
        ({"include": ("*.ppm",), "exclude": ("x.*", "sub")}, images[:2]),
        ({"include": ("@eaDir",)}, [*images[:2], "sub/@eaDir/g.jpg", *images[2:]]),
        ({"include": (".hidden",)}, [".hidden/f.jpg", *images]),
        ({"include": (".hidden/*", "._*")}, ["._g.jpg", ".hidden/f.jpg", *images]),
    ):
        assert listed_with(tree, **options) == [f"{tree}/{name}" for name in expected]
    globbed = [f"{tree}/{name}" for name in ("a.jpg", "sub/deep/e.jpg")]
    assert listed_with(f"{tree}/**/*.jpg", exclude=("deep",)) == globbed[:1]
    assert listed_with(f"{tree}/**/*.jpg", include=("*.ppm",)) == globbed  # of folders only
    assert listed_with(tree / "a.jpg", exclude=("a.jpg",)) == [f"{tree}/a.jpg"]


def test_what_is_left_out_is_still_covered(tree):
    source = parse_input(str(tree), exclude=("deep",))
    for name, covers, excludes in (
        ("a.jpg", True, False),
        ("sub/deep/e.jpg", True, True),
        ("sub/deep/x.tar#1.jpg", True, True),
        ("sub/deep/", True, True),
        ("sub/@eaDir/g.jpg", True, True),
        ("sub/@eaDir/g.txt", False, False),
        ("x.ppm", False, False),
        (".hidden/f.jpg", False, False),
    ):
        uri = f"{tree}/{name}"
        assert (source.covers(uri), source.excludes(uri)) == (covers, excludes), name
    glob = parse_input(f"{tree}/**/*.jpg", exclude=("deep",))
    assert glob.excludes(f"{tree}/sub/deep/e.jpg")
    assert glob.excludes(f"{tree}/@eaDir/e.jpg")
    assert not glob.covers(f"{tree}/sub/deep/e.png")
    assert not parse_input(f"{tree}/a.jpg", exclude=("a.jpg",)).excludes(f"{tree}/a.jpg")


def test_lists_in_a_folder_are_read_if_include_says_so(tmp_path):
    (tmp_path / "a.csv").touch()
    source = parse_input(str(tmp_path), include=("*.csv",))
    assert source.may_hold_lists()
    assert source.takes_as_list(f"{tmp_path}/a.csv")
    assert not parse_input(str(tmp_path), include=("*",)).takes_as_list(f"{tmp_path}/a.csv")


def test_an_input_on_a_dead_mount(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("pipeline.inputs.source._LOOK_SECONDS", 0.3)
    monkeypatch.setattr("pipeline.inputs.source._on_disk", lambda source: release.wait(60))
    with pytest.raises(InputError, match=r"--input .*no answer within 0\.3 s; is a mount dead"):
        parse_input(str(tmp_path))
    release.set()
